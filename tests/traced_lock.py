"""A lock file that is removed when it is let go of, so that two hold it: traced_lock.py FILE.

The second process has opened the file when the first removes and closes it; it gets the lock of a
file without a name, and the first, which makes a new one, gets another.
"""

import fcntl
import os
import subprocess
import sys

path, *second = sys.argv[1:]


def opened() -> int:
    """The lock file, made if it isn't there."""
    return os.open(path, os.O_RDWR | os.O_CREAT)


def say(word: str) -> None:
    """Tell the other process."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


lock = opened()
if second:
    say("opened")
    fcntl.flock(lock, fcntl.LOCK_EX)
    say("locked")
    sys.stdin.readline()
    os.write(lock, b"mine")
else:
    fcntl.flock(lock, fcntl.LOCK_EX)
    command = [sys.executable, "-I", "-S", __file__, path, "second"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        os.unlink(path)  # noqa: PTH108  as the calls are
        os.close(lock)
        other.stdout.readline()
        lock = opened()
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(lock, b"mine")
        other.communicate(b"\n")
os.close(lock)

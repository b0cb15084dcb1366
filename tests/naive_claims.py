"""How jobs that are files are often claimed, wrongly: two can do the same one.

    python naive_claims.py DIRECTORY LOG [wait]

Whoever opened a file before another removed it gets the lock on it when that one closes, and does
the work again, for a file that has no name any more. The work is to add the name to the log. With
`wait` it says when it has opened a file, and goes on when it is sent a line.
"""

import contextlib
import fcntl
import os
import sys


def work(directory: str, log: str, wait: str = "") -> None:
    """Go through the files once, and do those that nobody else is doing."""
    results = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for name in sorted(os.listdir(directory)):  # noqa: PTH208  the calls are to be seen
        path = os.path.join(directory, name)  # noqa: PTH118  as above
        try:
            job = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        if wait:
            print(name, flush=True)  # noqa: T201
            sys.stdin.readline()
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(job, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(results, f"{name}\n".encode())
            os.unlink(path)  # noqa: PTH108  as above
        os.close(job)
    os.close(results)


if __name__ == "__main__":
    work(*sys.argv[1:])

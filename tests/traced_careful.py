"""The worker of `naive_claims.py` put right: what it has locked must have the name still."""

import contextlib
import fcntl
import os
import sys
from pathlib import Path

directory, log, *wait = sys.argv[1:]
done = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for path in sorted(Path(directory).iterdir()):
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        continue
    if wait:
        sys.stdout.write(f"{path.name}\n")
        sys.stdout.flush()
        sys.stdin.readline()
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file), path.stat()):
            os.write(done, f"{path.name}\n".encode())
            path.unlink()
    os.close(file)

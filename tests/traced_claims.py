"""The worker of `naive_claims.py` with the library's claims.

With `wait` it waits before the first lock that it takes, where the naive worker goes wrong.
"""

import fcntl
import importlib
import os
import sys
from typing import Any

directory, log, *wait = sys.argv[1:]
lock = fcntl.flock


def waiting(descriptor: Any, operation: int) -> None:
    """Lock a file; the first time, say that it has been opened, and wait for a line."""
    fcntl.flock = lock
    sys.stdout.write("opened\n")
    sys.stdout.flush()
    sys.stdin.readline()
    lock(descriptor, operation)


if wait:
    fcntl.flock = waiting
done = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for job in importlib.import_module("cairndb.locking").claims(directory):
    with job:
        os.write(done, f"{job.name}\n".encode())

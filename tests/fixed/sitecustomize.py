"""Makes a traced program and its helper the same in every run: Python reads this when it starts.

Random bytes come from a hash of their number, and the clock goes on by a millisecond a look.
"""

import hashlib
import os
import time
from itertools import count

_numbers = count()
_times = count(1_700_000_000_000_000_000, 1_000_000)


def _fixed_bytes(size: int) -> bytes:
    return hashlib.shake_128(b"%d" % next(_numbers)).digest(size)


setattr(os, "urandom", _fixed_bytes)  # noqa: B010  mypy lets nobody assign to a function
setattr(time, "time_ns", lambda: next(_times))  # noqa: B010

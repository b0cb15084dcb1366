"""The one place that unpickles: imported only when `--trust-pickles` is given.

A pickle is a program: loading it runs whatever its writer put in it. cairndb itself neither writes
nor reads any. shelve, sqlitedict and diskcache store nothing else, so who wants to leave them, and
has written the file himself, must be able to say so.
"""

from __future__ import annotations

import pickle  # the user has said that the file is his own: see above
from typing import Any


def unpickle(data: bytes) -> Any:
    """Load a pickle, which may do anything.

    Args:
        data: from a file that the user trusts.

    Raises:
        ValueError: it can't be loaded.
    """
    try:
        return pickle.loads(data)  # noqa: S301  as above
    except Exception as error:
        # Loading runs code of any class, which raises what it likes.
        raise ValueError(f"it can't be unpickled: {type(error).__name__}: {error}") from error

"""Who may do what: a grant, and what it allows.

read      paths, watches, queries, the stream of entries
run       updates whose names match a pattern (`transfer`, `add_*`, `*`), and all that reads
admin     everything, setting paths and looking into the server included
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final

from msgspec import Struct

from cairndb.errors import CairnError


class Unauthenticated(CairnError):  # noqa: N818  names the state of the caller
    """Nobody knows who asks: a token is missing, or isn't known here."""


class Forbidden(CairnError):  # noqa: N818  names the state of the caller
    """Who asks may not do that."""


class Grant(Struct, frozen=True):
    """What somebody may do.

    Args:
        name: for logs.
        run: patterns of the updates that may be run.
        admin: whether everything else may be done as well.
    """

    name: str
    run: tuple[str, ...] = ()
    admin: bool = False

    def may_run(self, method: str) -> bool:
        """Whether an update of this name may be run."""
        return self.admin or any(fnmatchcase(method, pattern) for pattern in self.run)


EVERYTHING: Final = Grant("everybody", admin=True)
"""What everybody may do where no tokens are set."""


def require_run(grant: Grant | None, method: str) -> None:
    """Raise `Unauthenticated` or `Forbidden` unless an update may be run."""
    if not require_read(grant).may_run(method):
        raise Forbidden(f"this token may not run {method}")


def require_read(grant: Grant | None) -> Grant:
    """The grant; raises `Unauthenticated` if there is none."""
    if grant is None:
        raise Unauthenticated("a token is needed here, and none that is known was given")
    return grant


def require_admin(grant: Grant | None) -> None:
    """Raise `Unauthenticated` or `Forbidden` unless everything may be done."""
    if not require_read(grant).admin:
        raise Forbidden("this is for a token with the role admin")

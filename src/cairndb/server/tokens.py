"""Tokens: who may do what, in a file that holds none of them.

A token is 32 random bytes, shown once when it is made. The file has its SHA-256: that is enough,
since a slow hash with salt is for what people choose and others can guess, and nobody guesses 256
random bits, however quick the trying is. What is given is compared with every token there is, each
in a time that doesn't depend on it.

    {"tokens": [{"name": "shop", "sha256": "…", "run": ["transfer", "add_*"], "admin": false}]}
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import stat
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta, Struct

from cairndb.errors import UsageError
from cairndb.files import RealDirectory, random_nonce
from cairndb.locking import FileLock
from cairndb.publishing import publish
from cairndb.service_access import Grant

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX: Final = "cairn_"  # so that who searches for secrets in the wrong places finds them
_LOCK_SECONDS: Final = 10.0


class Token(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is kept of a token."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    run: tuple[str, ...] = ()
    admin: bool = False
    created: datetime | None = None

    @property
    def grant(self) -> Grant:
        """What it allows."""
        return Grant(self.name, self.run, self.admin)


class _File(Struct, forbid_unknown_fields=True):
    tokens: list[Token] = []


class Tokens:
    """The tokens of a file.

    Args:
        path: of the file.

    Raises:
        UsageError: it can't be read, or isn't such a file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        # Replaced as a whole, so that whoever reads them needs no lock.
        self._known = self._read()
        self.revoked: frozenset[Grant] = frozenset()
        """What was allowed once and isn't any more: connections may still have it."""

    def _read(self) -> list[tuple[bytes, Grant]]:
        return [(bytes.fromhex(each.sha256), each.grant) for each in read_tokens(self._path)]

    def authenticate(self, token: str) -> Grant | None:
        """What a token allows; None if it isn't known."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        found = None
        for known, grant in self._known:  # all of them, however early it is found
            if hmac.compare_digest(known, digest):
                found = grant
        return found

    def reload(self) -> None:
        """Read the file again.

        Raises:
            UsageError: it can't be read, or isn't such a file; all stays as it was.
        """
        before = self._known
        self._known = self._read()
        gone = {grant for _, grant in before} | self.revoked
        self.revoked = frozenset(gone - {grant for _, grant in self._known})

    def __len__(self) -> int:
        return len(self._known)


def read_tokens(path: str) -> list[Token]:
    """What a file of tokens says.

    Raises:
        UsageError: it can't be read, isn't such a file, or everybody may write to it.
    """
    file = Path(path)
    try:
        data, mode = file.read_bytes(), file.stat().st_mode
    except OSError as error:
        raise UsageError(
            f"--tokens {path}: {error.strerror}; 'cairn token new {path} NAME' makes it"
        ) from None
    if mode & stat.S_IWOTH:
        raise UsageError(
            f"--tokens {path}: everybody on this machine may write to it: chmod o-w {path}"
        )
    try:
        tokens = msgspec.json.decode(data, type=_File).tokens
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--tokens {path} isn't a file of tokens: {error}") from None
    names = [token.name for token in tokens]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(f"--tokens {path}: there are two called {min(twice)!r}: remove one")
    return tokens


def new_token(path: str, name: str, run: tuple[str, ...], *, admin: bool) -> str:
    """Make a token, and add what is kept of it to a file, which is made if it isn't there.

    Args:
        path: of the file.
        name: of the token, for logs, and to remove it by.
        run: patterns of the updates that it may run.
        admin: whether everything else may be done with it as well.

    Returns:
        The token itself: it is kept nowhere.

    Raises:
        UsageError: there is one of that name.
    """
    text = PREFIX + secrets.token_urlsafe(32)
    digest = hashlib.sha256(text.encode()).hexdigest()

    def add(tokens: list[Token]) -> list[Token]:
        if any(token.name == name for token in tokens):
            raise UsageError(f"{path} has a token {name!r}: remove it first, or name this another")
        return [*tokens, Token(name, digest, run, admin, datetime.now(UTC).replace(microsecond=0))]

    change_tokens(path, add)
    return text


def remove_token(path: str, name: str) -> None:
    """Remove a token from a file.

    Raises:
        UsageError: there is none of that name.
    """

    def remove(tokens: list[Token]) -> list[Token]:
        left = [token for token in tokens if token.name != name]
        if len(left) == len(tokens):
            raise UsageError(f"{path} has no token {name!r}")
        return left

    change_tokens(path, remove)


def change_tokens(path: str, change: Callable[[list[Token]], list[Token]]) -> None:
    """Replace a file of tokens, whole and durably: one that is read meanwhile is old or new."""
    file = Path(path).absolute()
    with (
        FileLock(file.parent, record=False, create=False, timeout=_LOCK_SECONDS),
        closing(RealDirectory(str(file.parent))) as directory,
    ):
        tokens = change(read_tokens(path) if file.exists() else [])
        data = msgspec.json.format(msgspec.json.encode(_File(tokens)), indent=2) + b"\n"
        publish(
            directory,
            file.name,
            lambda made: made.write(0, data),
            nonce=random_nonce(),
            bytes_needed=len(data),
        ).close()

"""TLS for what listens at TCP: certificates from files, which can be read again while it serves.

At least TLS 1.2. New certificates are for new connections; what is connected stays as it is.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final, NoReturn

from cairndb.errors import UsageError

if TYPE_CHECKING:
    from cairndb.server.listeners import Name

_PROTOCOLS: Final[dict[Name, list[str]]] = {"http": ["http/1.1"], "resp": []}


class Encryption:
    """The certificate of a daemon.

    Args:
        certificate: a PEM file of it and of what signed it.
        key: a PEM file of its key; empty if that is in the same file.
        authorities: a PEM file of who signs the certificates that clients must have; empty if they
            need none.

    Raises:
        UsageError: the files can't be read, or don't belong together.
    """

    def __init__(self, certificate: str, key: str = "", authorities: str = "") -> None:
        self._certificate = certificate
        self._key = key or certificate
        self._authorities = authorities
        self._contexts: dict[Name, ssl.SSLContext] = {
            name: self._made(protocols) for name, protocols in _PROTOCOLS.items()
        }

    def context(self, name: Name) -> ssl.SSLContext:
        """Of a protocol."""
        return self._contexts[name]

    def reload(self) -> None:
        """Read certificate and key again. The authorities stay as they were at the start.

        Raises:
            UsageError: the files can't be read, or don't belong together; all stays as it was.
        """
        # On trial first: what is loaded half into a context in use can't be taken back.
        self._made([])
        for context in self._contexts.values():
            context.load_cert_chain(self._certificate, self._key, _refuse_password)

    def _made(self, protocols: list[str]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        if protocols:
            context.set_alpn_protocols(protocols)
        try:
            context.load_cert_chain(self._certificate, self._key, _refuse_password)
        except (OSError, UsageError) as error:
            raise UsageError(
                f"--tls-certificate {self._certificate}, --tls-key {self._key}: {_why(error)}"
            ) from None
        if self._authorities:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                context.load_verify_locations(self._authorities)
            except OSError as error:
                raise UsageError(
                    f"--tls-client-authorities {self._authorities}: {_why(error)}"
                ) from None
        return context


def _refuse_password() -> NoReturn:
    # Without this it would be asked for, at a terminal that a daemon doesn't have.
    raise UsageError(
        "the key is encrypted: keep it in a file that only this user can read, without a password"
    )


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return f"{reason}: a certificate and the key that it was made for are needed, as PEM"
    return str(getattr(error, "strerror", None) or error)

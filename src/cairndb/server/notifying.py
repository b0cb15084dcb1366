"""What systemd is told: sd_notify(3), one datagram for each thing, to a socket that it names.

Nothing is told where nobody asks, and nothing here fails: a supervisor that doesn't listen is no
reason not to serve.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping


class Notifier:
    """Tells whoever started this process how it is.

    Args:
        environment: of this process; what concerns the telling is taken out of it, since it is
            meant for no child.

    Attributes:
        watchdog_seconds: in which it wants to hear that all is well; None if it doesn't.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        # An @ stands for the zero byte of Linux's abstract names.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        microseconds = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "") or str(os.getpid())
        self.watchdog_seconds = (
            int(microseconds) / 1e6
            if microseconds.isdecimal() and pid == str(os.getpid())
            else None
        )

    def tell(self, *lines: str) -> None:
        """Send what is said in sd_notify's words: `READY=1`, `STATUS=…`."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), self._address)

    def ready(self, status: str) -> None:
        """It serves."""
        self.tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """It reads its files again; `ready` follows."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """It ends."""
        self.tell("STOPPING=1", f"STATUS={status}")

    def opening(self, status: str) -> None:
        """It reads the database, and needs more time than a start usually does."""
        self.tell("EXTEND_TIMEOUT_USEC=30000000", f"STATUS={status}")

    def alive(self) -> None:
        """All is well."""
        self.tell("WATCHDOG=1")

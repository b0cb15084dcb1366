"""A replica whose stream is cut, wherever that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import serving
from remote import Cut, Served, Wire
from serving import Bank
from test_replica import impatient

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_a_stream_that_is_cut_anywhere(tmp_path: Path) -> None:
    """However many bytes come before each cut, what is shown is some LSN's, and in the end all."""
    with serving.opened(tmp_path) as db:
        states = {}
        for amount in range(1, 8):
            db.run(Bank.transfer, "alice", "bob", amount)
            states[db.lsn] = db.run(Bank.holders)
            if amount == 3:
                db.checkpoint()
        with Served(db, Bank) as server:
            for step in (1, 7, 64, 300):
                cuts = [Cut(replies=n) for n in range(30, 1200, step * 13)]
                with Wire(server.port, *cuts) as wire, impatient(wire.url) as copy:
                    db.run(Bank.transfer, "alice", "bob", 1)
                    states[db.lsn] = db.run(Bank.holders)
                    while copy.lsn < db.lsn:
                        with copy.view() as bank:
                            assert bank.accounts == states[copy.lsn]
                    assert copy.run(Bank.holders) == states[db.lsn]

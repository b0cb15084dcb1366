"""What tools and watches show of answered requests: what was done, and which request it was."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec import Raw

import cairndb
from cairndb import touched
from cairndb.difference import differences
from cairndb.fold import Fold
from cairndb.patch import REQUEST, SET, operation
from cairndb.pattern import Pattern
from cairndb.requests import RequestId
from cairndb.requests_stored import StoredRequests
from cairndb.service import Request, Service
from cairndb.service_access import EVERYTHING
from cairndb.watch_scope import Scope
from commands import Cairn
from serving import Bank, opened, value

if TYPE_CHECKING:
    from pathlib import Path


NONCE = 7_777_777_777_777


@pytest.fixture
def cairn(capsys: pytest.CaptureFixture[str]) -> Cairn:
    """The command."""
    return Cairn(capsys)


def transfer(db: cairndb.Database[Bank], identity: RequestId, amount: int = 5) -> Any:
    """Ask for a transfer."""
    data = msgspec.msgpack.encode(["alice", "bob", amount])
    request = Request("run", "transfer", "msgpack", data, grant=EVERYTHING, once=identity)
    return value(Service(db, Bank).handle(request))


def test_a_watch_shows_what_was_done(tmp_path: Path) -> None:
    """A watch of everything, of a wildcard or of one value gets what differs, and nothing else."""
    with opened(tmp_path) as db:
        since = db.lsn
        transfer(db, RequestId(since, 1, 0, 0))
        db.sync()
        for pattern in ("/**", "/accounts/*/balance", "/accounts/bob/balance"):
            with db.watch(pattern, since=since, timeout=0) as watch:
                (item,) = watch
            balances = {each.path: (each.before, each.after) for each in item.changes}
            both = {("accounts", "alice", "balance"): (100, 95)}
            both |= {("accounts", "bob", "balance"): (0, 5)}
            assert balances.items() <= both.items()
            assert len(balances) == (1 if "bob" in pattern else 2)


def test_the_log_tells_which_request_it_was(tmp_path: Path, cairn: Cairn) -> None:
    """As JSON, and without the nonce, which is a secret; for people it shows what changed."""
    with opened(tmp_path) as db:
        identity = RequestId(db.lsn, NONCE, 3, 0)
        transfer(db, identity)
        lsn = db.lsn
    path = tmp_path / "bank.cairn"
    shown = cairn("log", path, "--limit", 1)
    assert "balance" in shown
    assert str(NONCE) not in shown
    told = cairn.json("log", path, "--limit", 1, "--json")
    assert str(NONCE) not in str(told)
    assert told["request"]["sequence"] == 3
    assert re.fullmatch(rf"{identity.born}-[0-9a-f]{{8}}", told["request"]["session"])
    assert [each["do"] for each in told["operations"]] == ["set", "set"]
    (changed,) = cairn("log", path, "/accounts/bob/balance", "--since", lsn).splitlines()[1:]
    assert "5" in changed


def test_other_tools_go_over_it(tmp_path: Path, cairn: Cairn) -> None:
    """Beside checkpoints and after them, at an LSN, saved and restored: the answers are there."""
    with opened(tmp_path) as db:
        identities = [RequestId(db.lsn, 1, sequence, 0) for sequence in range(4)]
        answers = [transfer(db, each) for each in identities[:2]]
        db.checkpoint()
        answers += [transfer(db, identities[2])]
        db.checkpoint()
        answers += [transfer(db, identities[3])]
        lsn = db.lsn
    path = tmp_path / "bank.cairn"
    assert "is what the log says" in cairn("verify", path)
    cairn("doctor", path)
    assert cairn("diff", path, "--from", lsn - 1, "--to", lsn).count("balance") == 2
    assert cairn.json("get", path, "/accounts/bob/balance", "--at", lsn - 1) == 15
    cairn("doctor", path, "--salvage", tmp_path / "saved.cairn")
    cairn("restore", path, tmp_path / "restored.cairn")
    cairn("backup", path, tmp_path / "copy.cairn")
    cairn("restore", tmp_path / "copy.cairn", tmp_path / "back.cairn")
    for name in ("bank", "saved", "restored", "back"):
        with cairndb.open(tmp_path / f"{name}.cairn", Bank) as db:
            told = [msgspec.msgpack.decode(transfer(db, each, 50)) for each in identities]
            assert told == answers
            assert db.lsn == lsn


def test_verify_compares_the_answers(tmp_path: Path, cairn: Cairn) -> None:
    """A checkpoint that lacks an answer that the log has is found out, as any other wrong one."""
    with opened(tmp_path) as db:
        transfer(db, RequestId(db.lsn, 1, 0, 0))
    path = tmp_path / "bank.cairn"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StoredRequests, "operations", lambda _: iter(()))
        cairn("checkpoint", path)
    assert "gives another state" in cairn("verify", path, code=1)


def test_what_differs_is_looked_for_where_something_was_done() -> None:
    """A request makes nobody compare whole states, nor a watch keep what was answered."""
    state = Raw(msgspec.msgpack.encode({"a": 1, "b": 2}))
    operations = [operation(SET, [key], 3) for key in ("b", "a")]
    operations.append(operation(REQUEST, (), [1, 1, 0, 0, b""]))
    pattern, fold = Pattern.parse("/**"), Fold()
    fold.root = state
    # In the order of the operations; of the states it would be another.
    assert [each.path for each in touched.apply(fold, operations, pattern)] == [("b",), ("a",)]
    assert len(list(fold.requests.operations())) == 1

    scope = Scope(pattern, frozenset(), state, differences)
    assert [each.path for each in scope.apply(operations)] == [("b",), ("a",)]
    assert list(scope.fold.requests.operations()) == []

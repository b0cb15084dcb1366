"""Tokens: shown once, kept as hashes, known again, and taken back."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairndb.errors import UsageError
from cairndb.server.handling import revoked
from cairndb.server.tokens import Tokens, new_token, read_tokens, remove_token
from cairndb.service import Answer, Request
from cairndb.service_access import Grant, Unauthenticated
from commands import Cairn

if TYPE_CHECKING:
    from pathlib import Path


def test_a_token_is_known_again_and_kept_nowhere(tmp_path: Path) -> None:
    """It allows what was said when it was made; the file doesn't have it."""
    path = str(tmp_path / "tokens.json")
    shop = new_token(path, "shop", ("transfer", "add_*"), admin=False)
    boss = new_token(path, "boss", (), admin=True)
    tokens = Tokens(path)

    assert tokens.authenticate(shop) == Grant("shop", ("transfer", "add_*"))
    assert tokens.authenticate(boss) == Grant("boss", admin=True)
    assert len(tokens) == 2
    text = (tmp_path / "tokens.json").read_text()
    assert shop not in text
    assert shop.removeprefix("cairn_") not in text


@given(token=st.text(st.characters()))
def test_any_other_token_is_not_known(token: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever is given, surrogates and nothing included, is a token that is there or isn't."""
    path = tmp_path_factory.getbasetemp() / "tokens-of-others.json"
    if not path.exists():
        new_token(str(path), "shop", (), admin=False)

    assert Tokens(str(path)).authenticate(token) is None


def test_names_are_unique(tmp_path: Path) -> None:
    """A second one of the same name is refused; after removing the first it isn't."""
    path = str(tmp_path / "tokens.json")
    first = new_token(path, "shop", (), admin=False)

    with pytest.raises(UsageError, match="has a token 'shop': remove it first"):
        new_token(path, "shop", (), admin=True)
    remove_token(path, "shop")
    second = new_token(path, "shop", (), admin=False)
    with pytest.raises(UsageError, match="has no token 'bishop'"):
        remove_token(path, "bishop")

    tokens = Tokens(path)
    assert tokens.authenticate(first) is None
    assert tokens.authenticate(second) == Grant("shop")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "isn't a file of tokens"),
        ("[]", "isn't a file of tokens"),
        ('{"tokens": [{"name": "a", "sha256": "12"}]}', "isn't a file of tokens.*sha256"),
        ('{"tokens": [{"name": "", "sha256": ""}]}', "isn't a file of tokens"),
        ('{"tokenz": []}', "isn't a file of tokens.*tokenz"),
    ],
)
def test_another_file_is_refused(text: str, expected: str, tmp_path: Path) -> None:
    """The message names the file and what is wrong in it."""
    path = tmp_path / "tokens.json"
    path.write_text(text)

    with pytest.raises(UsageError, match=rf"--tokens {path} {expected}"):
        Tokens(str(path))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With the command that makes it."""
    with pytest.raises(UsageError, match=r"No such file.*'cairn token new .*tokens.json NAME'"):
        Tokens(str(tmp_path / "tokens.json"))


def test_a_file_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    """Whoever can write to it can give himself a token."""
    path = tmp_path / "tokens.json"
    new_token(str(path), "shop", (), admin=False)
    path.chmod(path.stat().st_mode | stat.S_IWOTH)

    with pytest.raises(UsageError, match="everybody on this machine may write to it"):
        Tokens(str(path))


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    """Logs would not say which it was."""
    path = tmp_path / "tokens.json"
    new_token(str(path), "shop", (), admin=False)
    tokens = json.loads(path.read_text())["tokens"]
    path.write_text(json.dumps({"tokens": tokens * 2}))

    with pytest.raises(UsageError, match="two called 'shop'"):
        Tokens(str(path))


def test_who_has_a_removed_token_is_nobody(tmp_path: Path) -> None:
    """After reading the file again, also on connections that were let in by it."""
    path = str(tmp_path / "tokens.json")
    texts = {name: new_token(path, name, (), admin=False) for name in ("shop", "bank")}
    tokens = Tokens(path)
    shop, bank = (tokens.authenticate(texts[name]) for name in ("shop", "bank"))
    handler = revoked(tokens)(lambda _: Answer(value=5))
    assert handler(Request("get", "/", grant=shop)).value == 5

    remove_token(path, "shop")
    tokens.reload()

    assert tokens.authenticate(texts["shop"]) is None
    with pytest.raises(Unauthenticated):
        handler(Request("get", "/", grant=shop))
    assert handler(Request("get", "/", grant=bank)).value == 5
    new_token(path, "shop", (), admin=False)  # the same grant, by another token
    tokens.reload()
    assert handler(Request("get", "/", grant=shop)).value == 5


def test_a_file_that_became_wrong_changes_nothing(tmp_path: Path) -> None:
    """Reading it again raises, and the tokens that were known stay known."""
    path = tmp_path / "tokens.json"
    token = new_token(str(path), "shop", (), admin=False)
    tokens = Tokens(str(path))
    path.write_text("")

    with pytest.raises(UsageError):
        tokens.reload()

    assert tokens.authenticate(token) == Grant("shop")


def test_the_commands_make_list_and_remove(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """`cairn token new` prints a token that the file then knows; `list` what it may do."""
    cairn = Cairn(capsys)
    path = tmp_path / "tokens.json"
    token = cairn("token", "new", path, "shop", "--run", "transfer", "--run", "add_*").strip()
    boss = cairn.json("token", "new", path, "boss", "--admin", "--json")

    assert Tokens(str(path)).authenticate(token) == Grant("shop", ("transfer", "add_*"))
    assert boss["name"] == "boss"
    listed = cairn("token", "list", path)
    assert "shop  read, run transfer, run add_*  (made " in listed
    assert "boss  everything  (made " in listed
    first, _ = cairn("token", "list", path, "--json").splitlines()
    assert json.loads(first) == {"name": "shop", "run": ["transfer", "add_*"], "admin": False}
    cairn("token", "remove", path, "shop")
    assert [each.name for each in read_tokens(str(path))] == ["boss"]
    cairn("token", "remove", path, "shop", code=2)

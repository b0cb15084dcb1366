"""Settings: flags before variables before the file before defaults, for every one of them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairndb.errors import CairnError, UsageError
from cairndb.server import application
from cairndb.server.settings import Settings, flag_of, load, variable_of
from commands import Cairn
from patient import polite

DOCUMENT = Path(__file__).parent.parent / "docs" / "serving" / "daemon.md"
NAMES = list(Settings.model_fields)
EXAMPLES = settings().max_examples
PLACES = ["application", "database"]
MEANS = ["flag", "environment", "file"]
"""The first counts."""


CHOICES: dict[str, list[Any]] = {
    "resp": [f"127.0.0.1:{port}" for port in (1, 2, 3, 4)],
    "http": [f"127.0.0.1:{port}" for port in (1, 2, 3, 4)],
    "unix_mode": ["0660", "0666", "0640", "0644"],
    "durability": ["interval", "process"] * 2,
    "log_format": ["json", "text"] * 2,
    "log_level": ["debug", "warning", "error", "debug"],
    "memory_watermark": [0.1, 0.2, 0.3, 0.4],
    "request_bytes": [2001, 2002, 2003, 2004],
    "reply_bytes": [2001, 2002, 2003, 2004],
}


def values_of(name: str) -> list[Any]:
    """Four values that a setting can have, none of them the default."""
    if name in CHOICES:
        return CHOICES[name]
    field = Settings.model_fields[name]
    if field.annotation is bool:
        return [not field.default] * 4
    if field.annotation is str:
        return [f"{name}{number}" for number in range(4)]
    return [field.annotation(number) for number in (21, 22, 23, 24)]  # type: ignore[misc]


def as_flags(name: str, value: Any) -> list[str]:
    """A setting on the command line."""
    if name in PLACES:
        return [value]
    if isinstance(value, bool):
        return [flag_of(name) if value else flag_of(name).replace("--", "--no-", 1)]
    return [flag_of(name), str(value)]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of whoever runs the tests."""
    for name in [*NAMES, "config"]:
        monkeypatch.delenv(variable_of(name), raising=False)


@st.composite
def given_by_means(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """For every setting what each means gives of it, if it does; a variable may be empty."""
    by_means: dict[str, dict[str, Any]] = {}
    codes = draw(st.lists(st.integers(0, 63), min_size=len(NAMES), max_size=len(NAMES)))
    for name, code in zip(NAMES, codes, strict=True):
        values = values_of(name)[code & 1 :]  # of two that differ at least, now one, now the other
        by_means[name] = {
            each: values[bit] for bit, each in enumerate(MEANS) if code >> 1 & 1 << bit
        }
        if code & 48 == 48:
            by_means[name]["environment"] = ""
    if "flag" in by_means["database"]:  # it comes second
        by_means["application"].setdefault("flag", "first:First")
    return by_means


@settings(max_examples=max(20, EXAMPLES // 5))
@given(given_by_means())
def test_the_first_that_gives_a_value_has_it(by_means: dict[str, dict[str, Any]]) -> None:
    """For every setting and every set of means: a flag counts, else a variable, else the file."""
    arguments: list[str] = []
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        for name, given_by in by_means.items():
            if "flag" in given_by:
                arguments += as_flags(name, given_by["flag"])
            if "environment" in given_by:
                patch.setenv(variable_of(name), str(given_by["environment"]))
            if "file" in given_by:
                lines.append(f"{name} = {json.dumps(given_by['file'])}\n")
        file = Path(folder) / "cairn.toml"
        file.write_text("".join(lines))

        loaded = load([*arguments, "--config", str(file)])

    for name, given_by in by_means.items():
        source = next((each for each in MEANS if given_by.get(each, "") != ""), "default")
        expected = given_by.get(source, Settings.model_fields[name].default)
        found = getattr(loaded.settings, name), loaded.origins[name].source
        assert found == (expected, source), name


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For every setting: a variable that is set but empty leaves the default, and the file's."""
    values = {name: values_of(name)[0] for name in NAMES}
    file = tmp_path / "cairn.toml"
    file.write_text("".join(f"{name} = {json.dumps(values[name])}\n" for name in NAMES))
    for name in NAMES:
        monkeypatch.setenv(variable_of(name), "")

    default, in_file = load([]), load(["--config", str(file)])

    for name in NAMES:
        assert getattr(default.settings, name) == Settings.model_fields[name].default
        assert default.origins[name] == ("default", "")
        assert getattr(in_file.settings, name) == values[name]
        assert in_file.origins[name] == ("file", str(file))


def test_an_empty_variable_names_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """CAIRN_CONFIG counts as unset as well."""
    monkeypatch.setenv("CAIRN_CONFIG", "")

    assert load([]).settings == Settings()


def test_an_empty_flag_turns_an_address_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who writes --http "" means it, even where a variable has an address."""
    monkeypatch.setenv("CAIRN_HTTP", "127.0.0.1:9")

    loaded = load(["--http", ""])

    assert (loaded.settings.http, loaded.origins["http"].source) == ("", "flag")


def test_a_file_is_named_by_a_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CAIRN_CONFIG names a file, and --config another instead of it."""
    (tmp_path / "one.toml").write_text("drain = 1\n")
    (tmp_path / "two.toml").write_text("drain = 2\n")
    monkeypatch.setenv("CAIRN_CONFIG", str(tmp_path / "one.toml"))

    assert load([]).settings.drain == 1
    assert load(["--config", str(tmp_path / "two.toml")]).settings.drain == 2


@pytest.mark.parametrize(
    ("arguments", "file", "expected"),
    [
        (["--drain", "soon"], "", "--drain: Input should be a valid number.*not 'soon'"),
        (["--drain", "-1"], "", "--drain: .*greater than or equal to 0"),
        (["--resp", "7379"], "", "--resp: .*an address is host:port"),
        (["--resp", "::1:7379"], "", r"--resp: .*in brackets: \[::1\]:7379"),
        (["--resp", ":7379"], "", "--resp: .*127.0.0.1 for this machine, 0.0.0.0 for all"),
        (["--unix-mode", "rw"], "", "--unix-mode: .*pattern"),
        (["--frobnicate"], "", "unrecognized arguments: --frobnicate.*cairn serve --help"),
        (["a:A", "b.cairn", "c"], "", "unrecognized arguments: c"),
        ([], "drian = 5\n", "there is no setting 'drian'"),
        ([], "drain = 'soon'\n", "drain in .*cairn.toml: .*not 'soon'"),
        ([], "drain 5\n", "cairn.toml isn't TOML"),
        (["--config", "/nowhere.toml"], "", "/nowhere.toml: there is no such file"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    arguments: list[str], file: str, expected: str, tmp_path: Path
) -> None:
    """The refusal says which flag or which line of which file, and what it can be."""
    if file:
        (tmp_path / "cairn.toml").write_text(file)
        arguments = [*arguments, "--config", str(tmp_path / "cairn.toml")]

    with pytest.raises(UsageError, match=expected):
        load(arguments)


def test_a_variable_that_cannot_be_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named as it was given."""
    monkeypatch.setenv("CAIRN_THREADS", "none")

    with pytest.raises(UsageError, match="CAIRN_THREADS: Input should be a valid integer"):
        load([])


def test_a_misspelt_variable_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What begins as settings do and is none isn't passed over; what clients have is theirs."""
    for name in ("CAIRN_DRIAN", "CAIRN_DRAIN", "CAIRN_CONFIG", "CAIRN_TOKEN", "OTHER"):
        monkeypatch.setenv(name, "")

    assert load([]).unknown == ("CAIRN_DRIAN",)


def test_the_help_has_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """`cairn serve --help` shows each flag; those of Typer have no part in it."""
    shown = Cairn(capsys)("serve", "--help")

    assert set(re.findall(r"^  (--[a-z-]+|[A-Z]+)\b", shown, re.MULTILINE)) == {
        *map(flag_of, NAMES),
        *("--config", "--print-settings", "--json"),
    }


def test_settings_are_printed_with_their_origins(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`--print-settings` shows each value and where it came from, and serves nothing."""
    file = tmp_path / "cairn.toml"
    file.write_text("drain = 1\nidle = 2\n")
    monkeypatch.setenv("CAIRN_IDLE", "3")
    cairn = Cairn(capsys)
    asked = ("serve", "bank:Bank", "--config", str(file), "--slow", "4", "--print-settings")

    shown = cairn.json(*asked, "--json")
    lines = dict(line.split(maxsplit=1) for line in cairn(*asked).splitlines())

    assert list(shown) == NAMES
    assert shown["drain"] == {"value": 1, "source": "file", "name": str(file)}
    assert shown["idle"] == {"value": 3, "source": "environment", "name": "CAIRN_IDLE"}
    assert shown["slow"] == {"value": 4, "source": "flag", "name": "--slow"}
    assert shown["threads"] == {"value": 8, "source": "default", "name": None}
    assert lines["idle"].split() == ["3", "CAIRN_IDLE"]
    assert set(lines) == set(NAMES)


def opened(name: str, path: Path, *arguments: str) -> application.Served:
    """What is served by a command line; nothing listens."""
    loaded = load([name, str(path), "--app-dir", str(Path(__file__).parent), *arguments])
    thing = application.found(name, loaded.settings.app_dir)
    return application.opened(thing, loaded)


@pytest.mark.parametrize("name", ["patient:Patient", "patient:open_patient"])
def test_a_class_or_a_function_is_served(name: str, tmp_path: Path) -> None:
    """Either way there is an open database, and the type of its root."""
    served = opened(name, tmp_path / "x.cairn")
    with served.database:
        assert served.root.__name__ == "Patient"


def test_settings_of_the_opening_reach_it(tmp_path: Path) -> None:
    """An untyped database, kept for long, that isn't made if it isn't there."""
    with pytest.raises(CairnError, match="there is no database"):
        opened("untyped", tmp_path / "x.cairn", "--no-create")
    served = opened("untyped", tmp_path / "x.cairn", "--retain=7d", "--audit")
    with served.database as database, database.update() as root:
        root["a"] = 1
    assert served.root == dict[str, Any]


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("", [], "cairn serve bank:Bank bank.cairn"),
        ("patient", [], "what is served is module:Name"),
        ("nowhere:Bank", [], "No module named 'nowhere'"),
        ("patient:Nobody", [], "has no attribute 'Nobody'"),
        ("patient:NUMBER", [], "neither a class nor a function"),
        ("patient:open_nothing", [], "returned no open database but a str"),
        ("patient:open_patient", ["--durability=process"], "opens the database by itself"),
        ("patient:open_patient", ["--no-create"], "what is given as --create is said there"),
    ],
)
def test_what_cannot_be_served_is_told(
    name: str, arguments: list[str], expected: str, tmp_path: Path
) -> None:
    """With what to write instead."""
    with pytest.raises(UsageError, match=expected):
        opened(name, tmp_path / "x.cairn", *arguments)


def test_middleware_is_found_by_its_names() -> None:
    """In its order; what isn't a function is refused."""
    folder = str(Path(__file__).parent)

    assert application.middleware_of("", folder) == []
    assert application.middleware_of("patient:polite, patient:polite", folder) == [polite, polite]
    with pytest.raises(UsageError, match="--middleware patient:NUMBER isn't a function"):
        application.middleware_of("patient:NUMBER", folder)


def test_without_the_extra_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other commands need nothing of it."""
    monkeypatch.delitem(sys.modules, "cairndb.server.settings")
    monkeypatch.setitem(sys.modules, "pydantic_settings", None)
    cairn = Cairn(capsys)

    cairn("serve", "bank:Bank", "bank.cairn", code=2)

    assert "needs pydantic_settings: pip install 'cairndb[server]'" in cairn.error


def test_the_documentation_has_every_setting() -> None:
    """The table of docs/serving/daemon.md names each setting, its default and its variable."""
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]*)` \|", DOCUMENT.read_text(), re.MULTILINE)
    shown = {
        flag_of(name): json.dumps(field.default).strip('"') or '""'
        for name, field in Settings.model_fields.items()
    }

    assert dict(rows) == shown

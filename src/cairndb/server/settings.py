"""The settings of `cairn serve`: each declared once, and given by any of four means.

    a flag        --drain 5
    a variable    CAIRN_DRAIN=5; one that is set but empty counts as unset
    a file        drain = 5, in the TOML file that --config or CAIRN_CONFIG names
    the default   below

The first of these that gives a value has it. Nothing is read from a file that wasn't named: what a
daemon does mustn't depend on the directory in which it was started. Every setting is one text,
number or yes-or-no, so that each means has the same form of it; seconds and counts that are 0 mean
that there is no such limit, where it says so. No setting is a secret: secrets are in files that
settings name.
"""

from __future__ import annotations

import argparse
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    CliPositionalArg,
    CliSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from cairndb.errors import UsageError
from cairndb.server.addresses import parse_address

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX: Final = "CAIRN_"
CONFIG_VARIABLE: Final = "CAIRN_CONFIG"
_OTHER_VARIABLES: Final = ("CAIRN_TOKEN",)  # of clients

Source = Literal["flag", "environment", "file", "default"]


def _setting(default: Any, description: str, **bounds: Any) -> Any:
    return Field(default, description=description, **bounds)


def _seconds(default: float, description: str) -> Any:
    return _setting(default, description, ge=0, le=10**9, allow_inf_nan=False)


def _count(default: int, description: str) -> Any:
    return _setting(default, description, ge=0, le=2**40)


class Settings(BaseSettings):
    """What a daemon is told; the descriptions are what `cairn serve --help` shows."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
    )

    application: CliPositionalArg[str] = _setting(
        "",
        "the root class, module:Bank; or a function that is given the database's path and returns "
        "it open; or 'untyped', for a database without declared types",
    )
    database: CliPositionalArg[str] = _setting("", "the directory of the database")
    app_dir: str = _setting(".", "where the module is imported from")
    middleware: str = _setting(
        "", "functions that wrap the handling of requests, outermost first: bank:timed,bank:checked"
    )

    # As for cairndb.open.
    create: bool = _setting(True, "make the database if it isn't there")
    durability: Literal["commit", "interval", "process"] = _setting(
        "commit", "what a returned update survives: commit, interval or process"
    )
    sync_interval: float = _setting(0.1, "seconds between syncs, of interval", gt=0, le=3600)
    restart_target: float = _seconds(
        2.0, "seconds that opening should take: decides when checkpoints are made; 0 makes none"
    )
    retain: str = _setting("", "how much of the past to keep: 7d, 10GiB, all")
    version: int = _setting(1, "of the data, as the application counts", ge=1)
    drop: str = _setting("", "stored fields that may go: Account.tags,Account.notes")
    audit: bool = _setting(False, "keep who called which update with what")
    lock_timeout: float = _seconds(0.0, "seconds to wait for another owner to go; 0 doesn't wait")

    # Where it listens.
    resp: str = _setting("127.0.0.1:7379", "host:port of the Redis protocol, or off")
    http: str = _setting("127.0.0.1:7380", "host:port of HTTP, or off")
    resp_unix: str = _setting("off", "path of a Unix socket of the Redis protocol, or off")
    http_unix: str = _setting("off", "path of a Unix socket of HTTP, or off")
    unix_mode: str = _setting(
        "0600", "permissions of the Unix sockets, octal", pattern="^0?[0-7]{3}$"
    )
    backlog: int = _setting(1024, "connections that wait to be accepted", ge=1, le=65535)
    insecure_listen: bool = _setting(
        False, "listen beyond this machine without TLS or without tokens"
    )

    http_hosts: str = _setting(
        "",
        "names that HTTP goes by, separated by commas; without tokens and at this machine alone: "
        "localhost,127.0.0.1,[::1] and the host of --http; else any",
    )
    http_origins: str = _setting(
        "", "pages of other servers that may ask by HTTP: https://app.example,…, or *"
    )

    # Who may do what.
    tokens: str = _setting("", "file of the tokens, as 'cairn token' makes it")
    tls_certificate: str = _setting("", "PEM file of the certificate and what signed it")
    tls_key: str = _setting("", "PEM file of its key, if that isn't in the same")
    tls_client_authorities: str = _setting(
        "", "PEM file of who signs the certificates that clients then must have"
    )

    # How it ends.
    drain: float = _seconds(10.0, "seconds that what has begun has to finish when it is stopped")

    # Limits.
    connections: int = _setting(10_000, "at the same time, of each protocol", ge=1, le=10**6)
    request_bytes: int = _setting(16 << 20, "of one request", ge=1024, le=1 << 30)
    reply_bytes: int = _setting(64 << 20, "of one reply", ge=1024, le=1 << 40)
    pipelined: int = _setting(1024, "requests of a connection that wait", ge=1, le=10**6)
    watches: int = _setting(256, "at the same time, of each protocol", ge=0, le=10**6)
    idle: float = _seconds(
        0.0, "seconds after which a connection is closed that asks nothing; 0: never"
    )
    slow: float = _seconds(
        30.0, "seconds in which a client must have sent what it began, or read what waits; 0: any"
    )
    threads: int = _setting(8, "for methods that take long", ge=1, le=1024)
    lock_seconds: float = _setting(30.0, "that a request waits for a lock", gt=0, le=86400)
    method_seconds: float = _seconds(
        1.0, "after which a request that still runs is logged, with its stack; 0: never"
    )
    memory_watermark: float = _setting(
        0.9, "of the memory there is, above which updates are refused; 0: never", ge=0, le=1
    )
    memory_bytes: int = _count(
        0, "of memory that there is for this process; 0: what the control group or the machine has"
    )

    # What it tells.
    log_format: Literal["auto", "json", "text"] = _setting(
        "auto", "of logs: json, text, or auto: text on a terminal"
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting("info", "of logs")
    access_log: bool = _setting(False, "log each request")

    @field_validator("http_hosts", "http_origins")
    @classmethod
    def _is_ascii(cls, text: str) -> str:
        if not text.isascii():
            raise ValueError("names on the network are ASCII; others are written as xn--…")
        return text

    @field_validator("resp", "http")
    @classmethod
    def _is_address(cls, text: str) -> str:
        parse_address(text)
        return text

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` has gathered, since it also says where each value came from."""
        return (init_settings,)


class Origin(NamedTuple):
    """Where a value came from."""

    source: Source
    name: str
    """The flag, the variable or the file."""


class Loaded(NamedTuple):
    """Settings, and what else the command line asks for."""

    settings: Settings
    origins: dict[str, Origin]
    unknown: tuple[str, ...] = ()
    """Variables that look like settings and are none: misspelt, perhaps."""
    print_settings: bool = False
    json: bool = False

    def given(self, name: str) -> bool:
        """Whether somebody gave this setting."""
        return self.origins[name].source != "default"


_METAVARS: Final = {"str": "TEXT", "int": "N", "float": "NUMBER"}


class HelpShown(Exception):  # noqa: N818  what has been done
    """Help was asked for, and has been written."""


class _Parser(argparse.ArgumentParser):
    """Raises what it would print."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see '{self.prog} --help')")

    def exit(self, _status: int = 0, _message: str | None = None) -> NoReturn:
        raise HelpShown


def flag_of(name: str) -> str:
    """A setting as a flag; the two that have places are named as in the usage line."""
    if name in {"application", "database"}:
        return name.upper()
    return f"--{name.replace('_', '-')}"


def variable_of(name: str) -> str:
    """A setting as a variable of the environment."""
    return PREFIX + name.upper()


def load(arguments: Sequence[str]) -> Loaded:
    """Gather the settings.

    Args:
        arguments: of the command line, after `cairn serve`.

    Raises:
        UsageError: one of them isn't a setting, or hasn't a value that it can have.
        HelpShown: they ask for help, which is on standard output now.
    """
    parser = _Parser(
        prog="cairn serve", description=_DESCRIPTION, epilog=_EXAMPLE, allow_abbrev=False
    )
    parser.add_argument("--config", metavar="FILE", help="a TOML file with settings")
    parser.add_argument(
        "--print-settings", action="store_true", help="show each, and where it is from; then end"
    )
    parser.add_argument("--json", action="store_true", help="show them as JSON")
    flags: Any = CliSettingsSource(
        Settings,
        cli_prog_name="cairn serve",
        cli_kebab_case=True,
        cli_avoid_json=True,
        cli_implicit_flags=True,
        cli_exit_on_error=False,
        root_parser=parser,
    )
    for action in parser._actions:  # noqa: SLF001  argparse has no other way
        action.metavar = _METAVARS.get(str(action.metavar), action.metavar)
    parsed = parser.parse_args(list(arguments))
    file = parsed.config or os.environ.get(CONFIG_VARIABLE) or ""
    others = {key: vars(parsed)[key] for key in ("print_settings", "json")}
    try:
        given: dict[Source, dict[str, Any]] = {
            "flag": _in_flags(flags, parsed),
            "environment": EnvSettingsSource(Settings)(),
            "file": _in_file(file),
        }
    except SettingsError as error:
        raise UsageError(f"{error}") from None
    origins = {name: Origin("default", "") for name in _names()}
    values: dict[str, Any] = {}
    for source in ("file", "environment", "flag"):
        for name, value in given[source].items():
            values[name] = value
            origins[name] = Origin(source, _shown_origin(source, name, file))
    try:
        return Loaded(Settings(**values), origins, _unknown_variables(), **others)
    except ValidationError as error:
        raise _refusal(error, origins) from None


_DESCRIPTION: Final = (
    "Open a database and serve it to others, over HTTP and the Redis protocol. Each setting can "
    "also be a variable, CAIRN_DRAIN for --drain, or stand in a TOML file."
)
_EXAMPLE: Final = "Example: cairn serve bank:Bank bank.cairn"


def _names() -> list[str]:
    return list(Settings.model_fields)


def _unknown_variables() -> tuple[str, ...]:
    known = {CONFIG_VARIABLE, *_OTHER_VARIABLES, *map(variable_of, _names())}
    return tuple(
        sorted(n for n in os.environ if n.upper().startswith(PREFIX) and n.upper() not in known)
    )


def _shown_origin(source: Source, name: str, file: str) -> str:
    return {"flag": flag_of(name), "environment": variable_of(name)}.get(source, file)


def _in_flags(source: Any, parsed: argparse.Namespace) -> dict[str, Any]:
    found = {
        name: value for name, value in source(parsed_args=parsed)().items() if name in _names()
    }
    # For pydantic-settings an empty flag is none, as an empty variable is; here somebody means it.
    given = {name: vars(parsed).get(name) for name in _names()}
    return found | {name: value for name, value in given.items() if value == ""}


def _in_file(path: str) -> dict[str, Any]:
    if not path:
        return {}
    try:
        if not Path(path).is_file():
            raise UsageError(f"{path}: there is no such file with settings")
        return dict(TomlConfigSettingsSource(Settings, Path(path)).toml_data)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} isn't TOML: {error}") from None


def _refusal(error: ValidationError, origins: dict[str, Origin]) -> UsageError:
    told = []
    for each in error.errors(include_url=False, include_context=False):
        name = str(each["loc"][0]) if each["loc"] else ""
        origin = origins.get(name)
        if each["type"] == "extra_forbidden" or origin is None:
            where = f" (in {origin.name})" if origin else ""
            told.append(f"there is no setting {name!r}{where}: see 'cairn serve --help'")
        else:
            given_by = f"{name} in {origin.name}" if origin.source == "file" else origin.name
            told.append(f"{given_by}: {each['msg']}, not {each['input']!r:.100}")
    return UsageError("; ".join(told))

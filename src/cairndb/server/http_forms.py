"""What HTTP says in headers: in which form a body is, which one is wanted, and entity tags.

An entity tag is a position, `"12-1b2e9ab0"`, and for MessagePack `"12-1b2e9ab0.msgpack"`: a strong
tag has to differ between representations (RFC 9110, section 8.8.1). `If-Match`, which is about the
state and not about a representation, takes either; and an LSN alone, for people with curl.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import mimeparse
import msgspec

from cairndb import codec
from cairndb.errors import UsageError
from cairndb.notation import to_json
from cairndb.server.http_problems import Refusal
from cairndb.service import Conflict
from cairndb.watch_items import Start, parse_position, position_text

if TYPE_CHECKING:
    from cairndb.chain import Position
    from cairndb.service_methods import Form

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
EVENTS: Final = "text/event-stream"

_FORMS: Final[dict[str, Form]] = {
    "application/x-msgpack": "msgpack",
    "application/vnd.msgpack": "msgpack",
    MSGPACK: "msgpack",
    JSON: "json",
}

_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def wanted(accept: str | None, offered: list[str]) -> str:
    """Which media type to answer with.

    Args:
        accept: the header.
        offered: what there is, the best last.

    Raises:
        Refusal: none of them will do.
    """
    if not accept:
        return offered[-1]
    try:
        found = mimeparse.best_match(offered, accept)
    except (mimeparse.MimeTypeParseException, ValueError):
        found = ""
    if not found:
        raise Refusal("not-acceptable", f"ask for one of {', '.join(reversed(offered))}")
    return str(found)


def wanted_form(accept: str | None) -> tuple[str, Form]:
    """The media type to answer with where values can be had as JSON and as MessagePack."""
    media_type = wanted(accept, list(_FORMS))
    return media_type, _FORMS[media_type]


def given_form(content_type: str | None, encoding: str | None) -> Form:
    """In which form a body is that isn't empty.

    It has to say so: a page of anywhere may have a browser send bodies without a type, or of the
    types of forms, to a server on the same machine (and no others, unless CORS allows it).

    Raises:
        Refusal: it is none that is understood.
    """
    if encoding and encoding.strip().lower() != "identity":
        raise Refusal("media-type", "send the body as it is, without Content-Encoding")
    media_type = (content_type or "").partition(";")[0].strip().lower()
    form = _FORMS.get(media_type)
    if form is None:
        raise Refusal(
            "media-type",
            f"send the body with 'Content-Type: {JSON}' or 'Content-Type: {MSGPACK}'",
            {"Accept-Post": f"{JSON}, {MSGPACK}"},
        )
    return form


def encoded(value: Any, form: Form) -> bytes:
    """A value out of the tree in a form; as JSON what JSON hasn't is as `notation` writes it.

    Raises:
        TypeError, ValueError: it can't be written at all.
    """
    if form == "msgpack":
        return codec.encode(value)
    try:
        return msgspec.json.encode(value)
    except TypeError:  # keys that aren't texts
        return msgspec.json.encode(to_json(codec.decode(codec.encode(value))))


def entity_tag(position: Position, form: Form) -> str:
    """The entity tag of what was read at a position."""
    suffix = ".msgpack" if form == "msgpack" else ""
    return f'"{position_text(position)}{suffix}"'


def names_tag(header: str | None, tag: str) -> bool:
    """Whether an `If-None-Match` names an entity tag; compared weakly, as that header asks for.

    Args:
        header: as it was given; a `*` is no tag.
        tag: which.
    """
    return any(f'"{text}"' == tag for _, text in _TAG.findall(header or ""))


def expected_position(header: str | None, now: Position) -> Start | None:
    """The position that an `If-Match` asks for; None if any will do.

    Args:
        header: as it was given.
        now: where the database is; of several positions this one is taken, if it is there.

    Raises:
        Conflict: it names none, so the database can't be there.
    """
    if header is None or header.strip() == "*":
        return None
    starts = [_start(text) for weak, text in _TAG.findall(header) if not weak]
    found = [start for start in starts if start is not None]
    exact = [start for start in found if start in {Start(*now), Start(now.lsn, None)}]
    if not found:
        raise Conflict("If-Match names no position: give an ETag as it was got")
    return next(iter(exact + found))


def _start(text: str) -> Start | None:
    try:
        return parse_position(text.removesuffix(".msgpack"))
    except UsageError:  # a tag of somebody else's
        return None

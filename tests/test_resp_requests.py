"""The bytes of commands: whole, in pieces, wrong, and too many."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cairndb.server.resp_requests import Bounds, Commands, ProtocolError
from serving_resp import packed

if TYPE_CHECKING:
    from collections.abc import Iterable

BOUNDS = Bounds(arguments=20, bytes=200)

WORDS = st.lists(st.binary(max_size=12), min_size=1, max_size=6)
# What means something to the parser, so that not all that is tried is nonsense at its first byte.
PIECES = st.one_of(
    st.binary(max_size=6),
    WORDS.map(lambda words: packed(*words)),
    st.sampled_from(
        [
            b"*",
            b"$",
            b">",
            b"~",
            b"%",
            b"|",
            b"_\r\n",
            b"#t\r\n",
            b"#f\r\n",
            b":1\r\n",
            b"+a\r\n",
            b"-a\r\n",
        ]
    ),
    st.sampled_from([b"*1\r\n", b"*3\r\n", b"*-1\r\n", b"*0\r\n", b"$1\r\n", b"$-1\r\n", b"\r\n"]),
    st.sampled_from([b"*99999", b"*1234", b"5\r\n", b">99999999\r\n", b"$9\r\n*99999999\r\n"]),
)
STREAMS = st.lists(PIECES, max_size=12).map(b"".join)


def read(pieces: Iterable[bytes], bounds: Bounds = BOUNDS) -> list[list[bytes] | str]:
    """The commands of a stream that comes in pieces; at its end perhaps an error's text."""
    commands = Commands(bounds)
    found: list[list[bytes] | str] = []
    try:
        for piece in pieces:
            commands.feed(piece)
            while (command := commands.take()) is not None:
                found.append(command)
    except ProtocolError as error:
        found.append(str(error))
    return found


def bytewise(stream: bytes) -> list[bytes]:
    """Each byte by itself."""
    return [stream[at : at + 1] for at in range(len(stream))]


@given(st.lists(WORDS, max_size=10), st.data())
def test_commands_are_read_as_they_were_sent(
    commands: list[list[bytes]], data: st.DataObject
) -> None:
    """However they come: whole, byte by byte, or cut anywhere."""
    stream = b"".join(packed(*words) for words in commands)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=5).map(sorted))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read([stream]) == commands
    assert read(bytewise(stream)) == commands
    assert read(pieces) == commands


@given(STREAMS)
@example(b"*1\r\n*99999\r\n")
@example(b"*2\r\n$6\r\n*99999\r\n$1\r\na\r\n")
@example(b"*1\r\n$6\r\n*99999\r\n*99999\r\n")
@example(b"$*99999\r\n")
@example(b"+*99999\r\n")
@example(b"*021*\x00")
@example(packed("PING") + b"#f\r\n" + packed("PING"))
@example(b"*1\r\n$1\r\n*1\r\n$0\r\n\r\n")
@example(b"*1\r\n%1\r\n*0\r\n:1\r\n")
def test_any_bytes_are_the_same_whole_or_in_pieces(stream: bytes) -> None:
    """Commands or an error, never anything else; and the error ends the stream."""
    assert read([stream]) == read(bytewise(stream))


@given(STREAMS)
def test_any_bytes_after_a_command(stream: bytes) -> None:
    """They don't change what came before them."""
    first, *_ = read([packed("PING") + stream])
    assert first == [b"PING"]


@given(st.lists(st.text("ab '\"\\\n\r\x00\xff", max_size=12).map(str.encode), max_size=6))
def test_lines_are_the_same_whole_or_in_pieces(lines: list[bytes]) -> None:
    """Of somebody who types."""
    stream = b"a" + b"\n".join(lines)
    assert read([stream]) == read(bytewise(stream))


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (b"*99999999\r\n", "at most 20 arguments"),
        (b"*1\r\n*99999999\r\n", "at most 20 arguments"),
        (b"*21\r\n" + b"$1\r\na\r\n" * 21, "at most 20 arguments"),
        (packed(b"x" * 201), "at most 200 bytes"),
        (packed(*[b"x" * 11] * 20), "at most 200 bytes"),
        (b"*1\r\n$5000\r\n" + b"x" * 3000, "at most 200 bytes"),
        (b"*1\r\n" + b"x", "Protocol error"),
        (b"*1\r\n:1\r\n", "array of texts"),
        (b"*1\r\n#f\r\n", "array of texts"),
        (b"*1\r\n*1\r\n$1\r\na\r\n", "array of texts"),
        (b"*1\r\n*100\r\n", "at most 20 arguments"),
        (b"a" * 300, "a line has at most 200 bytes"),
        (b"a " * 30 + b"\n", "at most 20 arguments"),
    ],
)
def test_what_is_too_much_is_refused(stream: bytes, error: str) -> None:
    """With what the limit is, and however it comes."""
    for pieces in ([stream], bytewise(stream)):
        (found,) = read(pieces)
        assert error in found


def test_empty_lines_between_commands_are_nothing() -> None:
    """As `redis-cli --pipe` sends one."""
    words = [b"ECHO", b"\n\r\n", b"", b"\r"]
    stream = b"%s\r\n%s\n\r\n\r\n%s" % ((packed(*words),) * 3)
    for pieces in ([stream], bytewise(stream)):
        assert read(pieces) == [words] * 3


def test_many_arguments_are_taken_where_they_may_be_many() -> None:
    """At a command's beginning, though not inside of one."""
    words = [b"%d" % number for number in range(500)]
    bounds = Bounds(1000, 1 << 16)
    stream = packed(*words) + packed(b"PING") + packed(*words)
    for pieces in ([stream], bytewise(stream)):
        assert read(pieces, bounds) == [words, [b"PING"], words]
    for pieces in ([b"*2\r\n" + stream], bytewise(b"*2\r\n" + stream)):
        assert read(pieces, bounds) == ["Protocol error: a command is an array of texts"]


def test_what_only_looks_like_too_much_is_taken() -> None:
    """A long announcement inside of a text is a part of it."""
    words = [b"SET", b"*99999999\r\n", b"\r\n*12345\r\n>99999\r\n", b"*" * 40]
    assert read([packed(*words)]) == [words]
    assert read(bytewise(packed(*words))) == [words]


@pytest.mark.parametrize("piece", [b"*99\r\n", b"*9999\r\n", b">9999\r\n$9\r\n*9999\r\nab\r\n"])
def test_arrays_inside_of_arrays_take_bounded_memory(piece: bytes) -> None:
    """Whoever announces more and more is refused before much is made room for."""
    commands = Commands(Bounds(arguments=9_999, bytes=1 << 16))

    def send_on() -> None:
        for _ in range(1 << 12):
            commands.feed(piece * 16)
            commands.take()

    commands.feed(b"*1\r\n")
    tracemalloc.start()
    with pytest.raises(ProtocolError, match="Protocol error"):
        send_on()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_many_announcements_inside_of_a_text_take_no_time() -> None:
    """Each is looked at once."""
    text = b"*99999" * 40_000
    bounds = Bounds(10, 1 << 20)
    assert read([packed(text)], bounds) == [[text]]

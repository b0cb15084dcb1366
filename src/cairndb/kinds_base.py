"""What a declared type can do with values: the base of all kinds.

A `Kind` is one declared type, compiled: `schema` makes a graph of them from a root type, once.
Three things happen to a value on its way into the state, each by its kind:

    copy      strict check by Python type, and a deep copy to plain builtins and Records
    encode    to canonical bytes, the only form in which it travels
    decode    back, typed, with every bound judged; what it returns is what the state holds

Rules. `decode(encode(copy(v))) == copy(v)`, and encoding that again gives the same bytes. `copy`
never aliases something mutable, takes nothing that bytes can't express, and converts only int to
float where exact, aware times to UTC or a fixed offset, `fold` away, drafts and guarded containers
to plain ones. Errors are `ValidationError`s with a path relative to the value; paths name fields as
they are stored.

Depth. No value reaches deeper than `DEPTH_MAX` steps below the root, so that every later walk, in
Python or C, is bounded. `copy` counts with an argument of its own, so that the limit doesn't depend
on the caller's stack; a caller who has no stack left gets a ValidationError all the same.

Flags are found once, by `seal`, since kinds may be recursive: `has_sets` (the C encoder can't be
used directly), `must_finish` (decoded values need containers wrapped, or keys judged).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Never, get_origin

import msgspec

from cairndb import codec
from cairndb.errors import ValidationError
from cairndb.record import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from msgspec import Raw

    from cairndb.errors import Path
    from cairndb.kinds_exact import Exact

DEPTH_MAX = codec.DEPTH_MAX
TOO_DEEP = f"deeper than {DEPTH_MAX} levels below the root (or a cycle)"
NO_STACK = "the caller's stack has no room left to walk this value: call from a shallower place"


class Kind:
    """One declared type, compiled.

    Args:
        name: the type as `describe` shows it, and as messages name it.
        annotation: the same as msgspec takes it, to make a decoder of.
    """

    is_node = False
    """A live value of this kind is, or (for unions and Any) may be, a record, dict, list or set."""
    ambiguous = False
    """Equal values may have different bytes (1, 1.0 and True; 0.0 and -0.0)."""
    doubtful = False
    """Decoding may give keys that `copy` refuses (NaN, an aware time): decoded keys are judged."""
    is_set = False
    trivial: type | None = None
    """A type whose every value `copy` returns as it is: callers in a hurry may skip the call."""
    types: tuple[type, ...] = ()
    """The exact Python types of live values and of values given to `copy`; () for unions, Any."""

    draft_maker: Any = None
    """A slot for the draft layer, on the class of each kind of node: what makes a draft."""

    rules: Any = None
    """A slot for the rules layer, on the kind of a root: what its classes declare."""

    encode: Callable[[Any], bytes]
    """Canonical bytes of a value that `copy` or `decode` made: `encode(value) -> bytes`."""

    def __init__(self, name: str, annotation: Any) -> None:
        self.name = name
        self.annotation = annotation
        self.has_sets = False
        self.must_finish = False
        self._decoder: msgspec.msgpack.Decoder[Any] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def children(self) -> Iterable[Kind]:
        """The kinds of the parts of a value."""
        return ()

    def seal(self, *, guard: bool) -> None:
        """Set the flags, when the whole graph is built: what this kind does depends on its parts.

        Args:
            guard: whether decoded containers refuse to change.
        """
        reached = reachable(self)
        self.has_sets = any(kind.is_set for kind in reached)
        self.must_finish = any(kind.finishes(guard=guard) for kind in reached)
        self.encode = self._encode_with_sets if self.has_sets else codec.encode

    def finishes(self, *, guard: bool) -> bool:
        """Whether this kind itself, apart from its parts, needs `finish` after decoding."""
        del guard
        return False

    @property
    def is_judged(self) -> bool:
        """Whether the declaration has bounds of this kind itself."""
        return get_origin(self.annotation) is Annotated

    def exact(self) -> Exact | None:
        """How to tell values that can be stored just as they are; None if that takes a `copy`."""
        return None

    def copy(self, value: Any, depth: int) -> Any:
        """A canonical deep copy of what a user gave.

        Args:
            value: anything.
            depth: how many steps below the root it will stand.

        Raises:
            ValidationError: it isn't what is declared; the path is relative to the value.
        """
        raise NotImplementedError

    def member(self, value: Any) -> Kind:
        """The concrete kind of a live value: a union's member, for Any a dict or list of Any."""
        del value
        return self

    def prepare(self, value: Any) -> Any:
        """The value with its sets rewritten, for the encoder; called if `has_sets`."""
        return value

    def _encode_with_sets(self, value: Any) -> bytes:
        return codec.encode(self.prepare(value))

    def decode(self, data: bytes | Raw) -> Any:
        """The typed value of canonical bytes, as the state holds it.

        Raises:
            ValidationError: the bytes aren't a value of this kind, or a bound refuses it.
        """
        try:
            decoder = self._decoder
            if decoder is None:
                decoder = self._decoder = msgspec.msgpack.Decoder(self.annotation)
            value = decoder.decode(data)
            return self.finish(value) if self.must_finish else value
        except (ValueError, TypeError, ValidationError) as error:
            raise self.refusal(data, error) from error
        except RecursionError:
            raise ValidationError(NO_STACK) from None

    def finish(self, value: Any) -> Any:
        """What decoding leaves to do: wrap containers, judge keys. `value` may be changed."""
        return value

    def finish_all(self, values: list[Any]) -> list[Any]:
        """What `finish` makes of each of many values.

        Kinds of nodes do it field by field for all of them, so that a load runs in C, and takes no
        step of Python for each record.

        Args:
            values: one at least, since a type may contain itself, without end.
        """
        return list(map(self.finish, values))

    def finish_each(self, values: Iterator[Any]) -> Iterable[Any]:
        """As `finish_all`, of what is set in its place before the next is asked for.

        Where containers are wrapped, there is one of them twice at a time: see `guarded_each`.
        """
        return self.finish_all(list(values))

    def plain(self, value: Any) -> Any:
        """A deep copy out of the tree: Records stay Records, containers are builtins."""
        return plain(value)

    def check_length(self, length: int, path: Path) -> None:
        """Judge the length that a container is going to have.

        Raises:
            ValidationError: a bound refuses it; with the path given.
        """

    def key_of(self, step: Any) -> Any:
        """The key that a path step names.

        Args:
            step: a key of this kind as it comes out of untyped decoding, or encoded.

        Raises:
            ValidationError: it isn't a key of this kind in its canonical form.
        """
        data = codec.encode(step)
        key = self.decode(data)
        if self.doubtful:
            key = self.copy(key, 0)
        if self.encode(key) != data:
            raise ValidationError(f"{step!r:.100} isn't how a key of type {self.name} is written")
        return key

    def parts(self, data: bytes | Raw) -> Iterator[tuple[Any, Kind, Raw]]:
        """Step, kind and bytes of each part: to find which of them is the one that is refused."""
        del data
        yield from ()

    def refusal(self, data: bytes | Raw, error: Exception) -> ValidationError:
        """The error of decoding, with the exact path that msgspec doesn't know.

        Slow: it decodes every part again until one is refused. Errors are rare.
        """
        try:
            for step, kind, part in self.parts(data):
                try:
                    kind.decode(part)
                except ValidationError as inner:
                    return inner.under((step,))
        except (ValueError, RecursionError):
            pass  # malformed bytes, below which there are no parts to find
        if isinstance(error, ValidationError):
            return error
        reason = str(error).replace(" - at `key` in `$", " for a key - at `$")
        return ValidationError(reason.partition(" - at `$")[0])

    def wrong(self, value: Any, hint: str = "") -> ValidationError:
        """The error for a value of another type; tells what is expected and what came."""
        return ValidationError(f"expected {self.name}, got {type(value).__name__}{hint}")


def reachable(kind: Kind) -> list[Kind]:
    """The kind and everything below it, each once, in the order of their declaration."""
    found: dict[int, Kind] = {}
    waiting = [kind]
    while waiting:
        current = waiting.pop()
        if id(current) not in found:
            found[id(current)] = current
            waiting.extend(reversed(list(current.children())))
    return list(found.values())


def refuse_depth() -> Never:
    """Raise the error of a value that reaches too deep."""
    raise ValidationError(TOO_DEEP)


def check_bounds(name: str, bounds: tuple[int | None, int | None], length: int, path: Path) -> None:
    """Judge a length by its declared bounds, min_length and max_length."""
    low, high = bounds
    if low is not None and length < low:
        raise ValidationError(f"{name}: at least {low} elements, this leaves {length}", path)
    if high is not None and length > high:
        raise ValidationError(f"{name}: at most {high} elements, this makes {length}", path)

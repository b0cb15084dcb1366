"""The methods of a root, seen by who calls them in another process.

The caller writes `Bank.transfer` with its arguments, as for a database of his own. What goes out is
the method's name and a MessagePack map of its arguments by their names; what comes back is decoded
by the method's own annotation, so that records are records of the caller's classes. The method
itself isn't called here.
"""

from __future__ import annotations

import inspect
import typing
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cairndb.calls import mode_of
from cairndb.draft import plain
from cairndb.errors import SchemaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_encoder: Final = msgspec.msgpack.Encoder()
_BY_POSITION: Final = {
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
}
# What `plain` would return as it is.
_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})


class RemoteMethod:
    """One method of the root.

    Args:
        function: marked `@cairndb.update` or `@cairndb.query`.

    Attributes:
        name: by which the server knows it.
        updates: whether it may change the state.
        parameters: the names of its parameters, without `self`.

    Raises:
        UsageError: it isn't marked, or what it returns has no type that can be sent.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        mode, self.qualified_name = mode_of(function)
        self.updates = mode == "update"
        self.name = function.__name__
        self._signature = inspect.signature(function)
        _, *parameters = self._signature.parameters.values()
        self.parameters = tuple(each.name for each in parameters)
        # How many arguments by position are all there is to say.
        positional = [each for each in parameters if each.kind in _BY_POSITION]
        self._most = len(positional)
        self._least = sum(each.default is each.empty for each in parameters)
        returns = typing.get_type_hints(function, include_extras=True).get("return", Any)
        try:
            self._decoder = msgspec.msgpack.Decoder(returns)
        except TypeError as error:
            raise UsageError(
                f"what {self.qualified_name} returns can't be sent: {error}"
            ) from error

    def arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Encode what it is to be called with.

        Raises:
            TypeError: it doesn't take these arguments, as if it were called here.
            UsageError: one of them is nothing that can be sent.
        """
        if kwargs or not self._least <= len(args) <= self._most:
            bound = self._signature.bind(None, *args, **kwargs).arguments
            given = [(name, bound[name]) for name in self.parameters if name in bound]
        else:
            # As most calls are; `bind` takes longer than all the rest of this.
            given = list(zip(self.parameters, args, strict=False))
        named = {name: value if type(value) in _SCALARS else plain(value) for name, value in given}
        try:
            return _encoder.encode(named)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise UsageError(
                f"the arguments of {self.qualified_name} can't be sent: {error}"
            ) from error

    def result(self, data: bytes | msgspec.Raw) -> Any:
        """Decode what it has returned.

        Raises:
            SchemaError: it isn't what the annotation says; the call has been done all the same.
        """
        try:
            return self._decoder.decode(data)
        except (ValueError, RecursionError) as error:
            raise SchemaError(
                f"{self.qualified_name} has been run, and what it has returned isn't what "
                f"is declared here: {error}. Have the server and this run the same program"
            ) from error


class RemoteMethods:
    """All of them, as they are asked for.

    Args:
        root: the type of the root; a `dict[...]` has none.
    """

    __slots__ = ("_methods", "_root")

    def __init__(self, root: Any) -> None:
        self._root = typing.get_origin(root) or root
        # Written by anybody, always the same for the same function.
        self._methods: dict[Callable[..., Any], RemoteMethod] = {}

    def of(self, function: Callable[..., Any]) -> RemoteMethod:
        """What is known of one.

        Raises:
            UsageError: it isn't a method of the root, or isn't marked.
        """
        found = self._methods.get(function)
        if found is None:
            found = RemoteMethod(function)
            if getattr(self._root, found.name, None) is not function:
                raise UsageError(
                    f"{found.qualified_name} isn't a method of {self._root.__name__}, "
                    "whose methods the server knows by their names"
                )
            self._methods[function] = found
        return found

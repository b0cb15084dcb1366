"""Exceptions that were raised in the owner's process, raised here again.

A class is taken only from what this program has already: the exceptions of Python and of cairndb,
and those that stand in the module of the root or of one of its bases, or in a module of the same
package that stands there. Nothing is imported because a server says so. It is made from its
arguments if they are plain data; if anything is missing, or its `__init__` refuses, there is
`RemoteError`.
"""

from __future__ import annotations

import builtins
import sys
import typing
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from cairndb import errors, service, service_access, service_methods, service_paths
from cairndb.errors import CairnError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cairndb.wire import Failure

_OWN: Final = (errors, service, service_access, service_methods, service_paths)


class Exceptions:
    """What a client can raise.

    Args:
        root: the type of the root; a `dict[...]` adds nothing.
    """

    __slots__ = ("_modules", "_roots")

    def __init__(self, root: Any) -> None:
        cls = typing.get_origin(root) or root
        # Those of the methods' classes, too: a method that is inherited is of a base.
        names = {base.__module__ for base in cls.__mro__} - {"builtins"}
        found = [module for name in sorted(names) if (module := sys.modules.get(name)) is not None]
        self._roots = tuple(found)
        self._modules: tuple[ModuleType, ...] = (builtins, *_OWN, *found)

    def of(self, failure: Failure) -> Exception:
        """The exception to raise for one that was raised there.

        Returns:
            Of the same class, with a `RemoteError` as its cause; or a `RemoteError`.
        """
        remote = RemoteError(failure.module, failure.name, failure.message)
        cls = self._class(failure.module, failure.name)
        if cls is None or failure.arguments is None:
            return remote
        arguments: Any = failure.arguments
        if issubclass(cls, CairnError):
            arguments = _as_tuples(arguments)  # as our own errors have paths
        try:
            error = cls(*arguments)
        except Exception:  # noqa: BLE001  an application's __init__ may raise anything
            return remote
        if not isinstance(error, cls):  # a __new__ may return anything
            return remote
        error.__cause__ = remote
        return error

    def _class(self, module: str, name: str) -> type[Exception] | None:
        first, *rest = name.split(".")
        for place in self._places(module):
            # `vars`, since `getattr` may run code of a module or of a metaclass.
            found = vars(place).get(first)
            for part in rest:
                found = vars(found).get(part) if isinstance(found, type) else None
            # No BaseException: a server can't end this program.
            if (
                isinstance(found, type)
                and issubclass(found, Exception)
                and (found.__module__, found.__qualname__) == (module, name)
            ):
                return found
        return None

    def _places(self, module: str) -> Iterator[ModuleType]:
        """Where a class of a module may stand."""
        yield from self._modules
        for place in self._roots:
            package = place.__name__.partition(".")[0]
            if module.partition(".")[0] == package:
                yield from (
                    value
                    for value in list(vars(place).values())
                    if isinstance(value, ModuleType) and value.__name__ == module
                )


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value

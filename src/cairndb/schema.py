"""The schema of a database: its declared root type, compiled, checked, described.

`compile_root` is called once, at open. It refuses what can't be kept before anything is read or
written, with every problem in one error: path, class, and what to write instead.

`describe` is what is stored of the schema: what types are, not where their classes live, so that a
class can move between modules. Two schemas with the same text keep the same bytes; `fingerprint` is
its hash. Defaults aren't part of it: they are in no bytes.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, get_origin

import msgspec

from cairndb import kinds
from cairndb.errors import CairnError, SchemaError
from cairndb.kinds import Kind, reachable
from cairndb.record import Record
from cairndb.schema_check import REFUSALS, endless_generic, refused_types
from cairndb.schema_compile import NODE, Compiler, Default

if TYPE_CHECKING:
    from collections.abc import Iterator


def compile_root(root_type: Any, *, guard: bool) -> Kind:
    """The kind of a database's root.

    Args:
        root_type: a Record class whose fields all have defaults, or `dict[...]`.
        guard: whether dicts, lists and sets of the state refuse to change outside of updates.

    Returns:
        A RecordKind or a DictKind, with all kinds below it.

    Raises:
        SchemaError: with every problem: the path, the class, and what to write instead.
    """
    path = getattr(root_type, "__name__", "root")
    origin = get_origin(root_type) or root_type
    is_record = isinstance(origin, type) and issubclass(origin, Record)
    if not is_record and origin is not dict:
        raise SchemaError(
            f"{path}: the root is a cairndb.Record class whose fields have defaults, or dict[...]"
        )
    try:
        return _compile(root_type, path, guard=guard)
    except RecursionError:
        reason = "nested too deeply, or a generic that contains itself with ever new parameters"
        raise _schema_error([f"{path}: {reason}"]) from None


def _compile(root_type: Any, path: str, *, guard: bool) -> Kind:
    endless = endless_generic(root_type, path)
    if endless is not None:
        raise _schema_error([endless])
    try:
        info = msgspec.inspect.type_info(root_type)
    except REFUSALS as error:
        found = refused_types(root_type, path)
        raise _schema_error([f"{where}: {reason}" for where, reason in found]) from error
    compiler = Compiler()
    root = compiler.visit(info, path, NODE)
    if isinstance(info, msgspec.inspect.StructType):
        compiler.problems.extend(
            f"{path}.{field.name}: the root is made before there is data: give this field a default"
            for field in info.fields
            if field.required
        )
    if compiler.problems:
        raise _schema_error(compiler.problems)
    _seal(root, compiler, guard=guard)
    first = {} if isinstance(root, kinds.DictKind) else (get_origin(root_type) or root_type)()
    # The root as a whole is judged if each field is good: else it would tell the same again.
    for defaults in compiler.defaults, [Default(root, first, path)]:
        problems = [problem for problem in map(_default_problem, defaults) if problem]
        if problems:
            raise _schema_error(problems)
    return root


def _seal(root: Kind, compiler: Compiler, *, guard: bool) -> None:
    found = {id(kind): kind for kind in reachable(root)}
    found.update((id(default.kind), default.kind) for default in compiler.defaults)
    for kind in found.values():
        kind.seal(guard=guard)


def _default_problem(default: Default) -> str | None:
    """Why a default couldn't be stored, if so."""
    kind, value, path = default
    try:
        kind.decode(kind.encode(kind.copy(value, 0)))
    except CairnError as error:
        return f"{path}: the default {value!r:.100} can't be stored: {error}"
    return None


def _schema_error(problems: list[str]) -> SchemaError:
    return SchemaError("this type can't be kept:\n" + "\n".join(f"  {line}" for line in problems))


def describe(kind: Kind, version: int = 1) -> str:
    """The schema as text: canonical JSON that people can read.

    Args:
        kind: what `compile_root` gave.
        version: that the application gives its data.

    Returns:
        The version, if it isn't 1; the root's type, and under `types` what the classes are that it
        names: records and frozen classes with their fields in the order in which they are stored,
        Enums with their values.
    """
    types: dict[str, Any] = {}
    for part in reachable(kind):
        if isinstance(part, kinds.FieldsKind):
            word = "record" if isinstance(part, kinds.RecordKind) else "value"
            fields = {field.encode_name: field.kind.name for field in part.fields.values()}
            types[part.name] = {word: fields} | ({"tag": part.tag} if part.tag else {})
        elif isinstance(part, kinds.EnumKind):
            types[part.name] = {"enum": {member.name: member.value for member in part.members}}
    content = ({"version": version} if version != 1 else {}) | {"root": kind.name, "types": types}
    return json.dumps(content, indent=1, ensure_ascii=False)


def fingerprint(text: str) -> str:
    """A hash of what `describe` gives: 32 hexadecimal digits (BLAKE2b, 16 bytes)."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def field_defaults(kind: Kind) -> dict[str, dict[str, bytes]]:
    """The encoded defaults of all fields that have one, by class and stored name.

    Args:
        kind: what `compile_root` gave.
    """
    return {
        part.name: dict(_encoded_defaults(part))
        for part in reachable(kind)
        if isinstance(part, kinds.FieldsKind)
    }


def _encoded_defaults(kind: kinds.FieldsKind) -> Iterator[tuple[str, bytes]]:
    for name, make in kind.defaults.items():
        part = kind.by_encode_name[name].kind
        yield name, part.encode(part.copy(make(), 0))

"""The draft of a record: an instance of a subclass generated from the record's own class.

So the user's methods, properties, `super()`, dunders, `match` and `isinstance` work on it
unchanged.

- Every slot of the draft holds what the field shows: at first the base's own value. So collecting
  asks of each field whether the slot still holds the very object that the base holds.
- A field that can't hold a node is read from its slot at the speed of any record. A field that can
  is shadowed by a descriptor that makes the child's draft at the first look and leaves it in the
  instance's `__dict__`, where Python finds it by itself from then on. When that child is written,
  it takes the slot too.
- Assigning goes through `__setattr__`: copy by the field's kind, into the slot.
- What msgspec's C code does with slots is right or loud: `msgspec.structs.replace(draft, …)` gives
  an instance without a place in the tree (a *stray*), which reads like a record, refuses writing,
  and is copied like any value when assigned; encoding a draft with a changed child fails.
- `Struct`'s own comparison, repr and copying want the record's exact type, so the generated class
  has its own, unless the user's class does. Class methods are bound to the record's class, and
  `self.__class__` is that class; `type(self)` can't be.
"""

from __future__ import annotations

import operator
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any

from msgspec import Raw, defstruct

from cairndb import draft_base, draft_ended
from cairndb.draft_base import CLEAN, REMOVED, WRITTEN
from cairndb.draft_ended import ENDED
from cairndb.draft_struct import struct_methods, user_classes
from cairndb.errors import StaleDraft, ValidationError
from cairndb.patch import SET, Operation
from cairndb.record import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.draft_base import ChildReference, Draft
    from cairndb.kinds import Field, RecordKind

_set_class = vars(object)["__class__"].__set__


class Plan:
    """What a draft class knows of its record's class; made once per kind."""

    __slots__ = (
        "cls",
        "ended",
        "fields",
        "kind",
        "names",
        "nodes",
        "parts",
        "positional",
        "slot_of",
        "slots",
        "values",
    )

    def __init__(self, kind: RecordKind) -> None:
        cls: Any = kind.cls
        self.kind = kind
        self.cls = cls
        self.names: tuple[str, ...] = cls.__struct_fields__
        self.fields: list[Field] = [kind.fields[name] for name in self.names]
        self.nodes = [field.name for field in self.fields if field.kind.is_node]
        self.slots = [_slot(cls, name) for name in self.names]
        self.slot_of = {f.encode_name: s for f, s in zip(self.fields, self.slots, strict=True)}
        # By name: place in the declaration, stored name, encoder, whether it may hold a node, and
        # what reads and writes its slot.
        self.parts = {
            f.name: (n, f.encode_name, f.kind.encode, f.kind.is_node, s.__get__, s.__set__)
            for n, (f, s) in enumerate(zip(self.fields, self.slots, strict=True))
        }
        self.positional = cls.__match_args__ == self.names
        self.values = _values_getter(self.names)
        self.ended: type[Any] | None = None

    def make(self, cls: type[Any], values: tuple[Any, ...]) -> Any:
        """An instance of the record's class or the draft's with these values."""
        if self.positional:
            return cls(*values)
        return cls(**dict(zip(self.names, values, strict=True)))


def _slot(cls: type[Any], name: str) -> MemberDescriptorType:
    """The slot of a field, though a subclass may have hidden it behind another attribute."""
    for base in cls.__mro__:
        slot = vars(base).get(name)
        if isinstance(slot, MemberDescriptorType):
            return slot
    raise AssertionError(f"{cls.__name__}.{name} has no slot")


def _values_getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return operator.attrgetter(*names)
    if not names:
        return lambda _record: ()
    only = operator.attrgetter(*names)
    return lambda record: (only(record),)


def make_record_draft(kind: RecordKind, base: Any, parent: Draft | None, key: Any) -> Any:
    """The draft of a record of this kind at a place."""
    cls: Any = kind.draft_class or draft_class(kind)
    plan = cls.__cairn_plan__
    # The two lines of Plan.make for the usual case, without its call.
    values = plan.values(base)
    draft = cls(*values) if plan.positional else plan.make(cls, values)
    own = draft.__dict__
    own["__cairn_base__"] = base
    own["__cairn_parent__"] = parent
    own["__cairn_key__"] = key
    own["__cairn_depth__"] = 0 if parent is None else parent.__cairn_depth__ + 1
    removed = parent is not None and parent.__cairn_state__ == REMOVED
    own["__cairn_state__"] = REMOVED if removed else CLEAN
    return draft


class NodeField:
    """The descriptor of a field that may hold a node.

    It has no `__set__`, so an entry of the instance's `__dict__` goes before it.
    """

    __slots__ = ("kind", "name", "slot")

    def __init__(self, field: Field, slot: MemberDescriptorType) -> None:
        self.kind = field.kind
        self.name = field.name
        self.slot = slot

    def __get__(self, draft: Any, owner: type[Any] | None = None) -> Any:
        if draft is None:
            return self.slot
        value = self.slot.__get__(draft, owner)
        own = draft.__dict__
        if "__cairn_base__" not in own:
            # A stray: what its slot got from the draft is the state's, or a draft of another place.
            own[self.name] = value = plain(value)
            self.slot.__set__(draft, value)
            return value
        kind = self.kind
        maker = kind.draft_maker
        if maker is None:  # a union, or Any
            kind = kind.member(value)
            maker = kind.draft_maker
        if maker is not None:
            value = maker(kind, value, draft, self.name)
        own[self.name] = value
        return value


def _setter(kind: RecordKind) -> Callable[[Any, str, Any], None]:
    """`__setattr__` of the draft class of a kind."""
    cls = kind.cls
    # By the slot: force_setattr would put a node where its descriptor's instance entries are.
    fields = {
        field.name: (
            field.kind.copy,
            field.kind.is_node,
            field.kind.trivial,
            _slot(cls, field.name).__set__,
        )
        for field in kind.fields.values()
    }

    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807  a method of the class made
        own = self.__dict__
        if name not in fields or "__cairn_base__" not in own:
            _set_other(cls, self, name, value)
            return
        copy, is_node, trivial, set_slot = fields[name]
        if is_node and own.get(name) is value and draft_base.is_draft(value):
            return
        if own["__cairn_state__"] != WRITTEN:
            draft_base.touch(self, name)
        if type(value) is not trivial:
            try:
                value = copy(value, own["__cairn_depth__"] + 1)
            except ValidationError as error:
                path = draft_base.path_of(self)
                raise error.under((*path, kind.fields[name].encode_name)) from None
        own["__cairn_written__"][name] = None
        set_slot(self, value)
        if is_node:
            child = own.pop(name, None)
            if draft_base.is_draft(child):
                draft_base.bury(self, child)

    return __setattr__


def _set_other(cls: type[Any], draft: Any, name: str, value: Any) -> None:
    """Assign a name that is no field: a property, or a mistake; or any name of a stray."""
    for base in cls.__mro__:
        attribute = vars(base).get(name)
        if attribute is not None:
            setter = getattr(type(attribute), "__set__", None)
            if setter is None or isinstance(attribute, MemberDescriptorType):
                break
            setter(attribute, draft, value)
            return
    if name in cls.__struct_fields__:
        refuse: Any = cls.__setattr__  # a stray: the record's own refusal
        refuse(draft, name, value)
    raise AttributeError(
        f"{cls.__name__!r} has no field {name!r} to assign; its fields are "
        f"{', '.join(cls.__struct_fields__)}",
        name=name,
        obj=draft,
    )


def _delattr(draft: Any, name: str) -> None:
    raise AttributeError(
        f"a field of a record can't be deleted ({name!r}); assign None or its default",
        name=name,
        obj=draft,
    )


# The protocol of draft_base.Draft: functions that go into the namespace of every generated class.


def _mark(self: Any, state: int) -> None:
    own = self.__dict__
    if "__cairn_written__" not in own:
        # The fields that were assigned, and those whose drafts were written to.
        own["__cairn_written__"] = {}
    own["__cairn_state__"] = state


def _keep(self: Any, key: str, child: Draft) -> None:
    own = self.__dict__
    if "__cairn_written__" in own:
        own["__cairn_written__"][key] = None
    else:
        own["__cairn_written__"] = {key: None}
    self.__cairn_plan__.parts[key][5](self, child)


def _hide(self: Any, child: Draft) -> None:
    hidden: dict[Any, ChildReference] = self.__dict__.setdefault("__cairn_hidden__", {})
    draft_base.refer(hidden, id(child), child)


def _live(self: Any) -> list[Draft]:
    own = self.__dict__
    live = []
    for name in self.__cairn_plan__.nodes:
        if name in own and draft_base.is_draft(own[name]):
            live.append(own[name])  # noqa: PERF401  no function for what is mostly nothing
    if "__cairn_hidden__" in own:
        hidden: dict[Any, ChildReference] = own["__cairn_hidden__"]
        live += (child for each in list(hidden.values()) if (child := each()) is not None)
    return live


def _step(self: Any, key: str) -> str:
    name: str = self.__cairn_plan__.kind.fields[key].encode_name
    return name


def _peek(self: Any, step: str) -> Any:
    plan = self.__cairn_plan__
    return plan.slot_of[step].__get__(self)


def _merged(self: Any) -> Any:
    plan = self.__cairn_plan__
    own = self.__dict__
    if own.get("__cairn_state__") == CLEAN:
        return own["__cairn_base__"]
    values = tuple(draft_base.merged(slot.__get__(self)) for slot in plan.slots)
    return plan.make(plan.cls, values)


def _plain(self: Any) -> Any:
    return self.__cairn_plan__.kind.plain(self.__cairn_merged__())


def _collect(self: Any, path: list[Any], operations: list[Operation]) -> None:
    own = self.__dict__
    written = own.get("__cairn_written__", ())
    base = own["__cairn_base__"]
    parts = self.__cairn_plan__.parts
    for name in written if len(written) < 2 else sorted(written, key=parts.__getitem__):
        _, step, encode, is_node, get, _ = parts[name]
        new = get(self)
        old = get(base)
        if new is old:
            continue
        if is_node and draft_base.is_draft(new):
            if new.__cairn_base__ is old:
                new.__cairn_collect__([*path, step], operations)
                continue
            new = new.__cairn_merged__()
        encoded = encode(new)
        if encoded != encode(old):
            operations.append(Operation(SET, [*path, step], Raw(encoded)))


def _end(self: Any, alive: list[Draft]) -> None:
    plan = self.__cairn_plan__
    own = self.__dict__
    if plan.nodes:
        alive += _live(self)
    if plan.ended is None:
        plan.ended = _ended_class(type(self), plan.cls)
    own.clear()
    for slot in plan.slots:
        slot.__delete__(self)  # C code reads slots without asking the class
    _set_class(self, plan.ended)


def _ended_class(cls: type[Any], record: type[Any]) -> type[Any]:
    namespace = {
        "__getattribute__": draft_ended.ended_getattribute,
        "__setattr__": draft_ended.ended_setattr,
        "__delattr__": draft_ended.ended_setattr,
        "__repr__": draft_ended.ended_repr,
        "__eq__": _ended_eq,
    }
    return _subclass(cls, record, namespace)


def _ended_eq(_self: Any, _other: object) -> bool:
    raise StaleDraft(ENDED)


_PROTOCOL: dict[str, Any] = {
    "__cairn_mark__": _mark,
    "__cairn_keep__": _keep,
    "__cairn_hide__": _hide,
    "__cairn_live__": _live,
    "__cairn_step__": _step,
    "__cairn_peek__": _peek,
    "__cairn_merged__": _merged,
    "__cairn_plain__": _plain,
    "__cairn_collect__": _collect,
    "__cairn_end__": _end,
    "__delattr__": _delattr,
}


def _init_subclass(_cls: type[Any]) -> None:
    """In place of the user's hook, which has seen one generated class and needn't see its end."""


# Class methods that Python itself calls, with a class of its own.
_HOOKS = {"__class_getitem__", "__init_subclass__"}


def _namespace(plan: Plan) -> dict[str, Any]:
    cls: Any = plan.cls
    namespace = struct_methods(cls)
    for base in reversed(user_classes(cls)):
        for name, attribute in vars(base).items():
            if isinstance(attribute, classmethod) and name not in _HOOKS:
                namespace[name] = staticmethod(getattr(cls, name))
    for field, slot in zip(plan.fields, plan.slots, strict=True):
        if field.kind.is_node:
            namespace[field.name] = NodeField(field, slot)
    namespace |= _PROTOCOL
    namespace["__setattr__"] = _setter(plan.kind)
    namespace["__init_subclass__"] = classmethod(_init_subclass)
    namespace["__class__"] = property(lambda _self: cls)
    namespace["__cairn_plan__"] = plan
    namespace["__cairn_kind__"] = plan.kind
    return namespace


def _subclass(cls: type[Any], record: type[Any], namespace: dict[str, Any]) -> type[Any]:
    config: Any = record.__struct_config__
    return defstruct(
        record.__name__,
        [],
        bases=(cls,),
        namespace=namespace,
        module=record.__module__,
        tag_field=config.tag_field,
        tag=config.tag,
        dict=True,
        weakref=True,
        gc=True,
    )


def draft_class(kind: RecordKind) -> type[Any]:
    """Generate the class of the drafts of a kind of record, and remember it there."""
    plan = Plan(kind)
    kind.draft_class = _subclass(plan.cls, plan.cls, _namespace(plan))
    return kind.draft_class

"""All kinds, in one place to import them from; `kinds_base` says what a kind is."""

from cairndb.codec import stored_key
from cairndb.kinds_base import DEPTH_MAX, Kind, reachable
from cairndb.kinds_choice import AnyKeyKind, AnyKind, UnionKind
from cairndb.kinds_node import ContainerKind, DictKind, ListKind, RecordKind, SetKind
from cairndb.kinds_scalar import (
    DateTimeKind,
    EnumKind,
    FloatKind,
    IntKind,
    LiteralKind,
    NoneKind,
    ScalarKind,
    StrKind,
    TimeKind,
)
from cairndb.kinds_value import (
    Field,
    FieldsKind,
    FrozenSetKind,
    TupleKind,
    ValueKind,
    VarTupleKind,
)

__all__ = [
    "DEPTH_MAX",
    "AnyKeyKind",
    "AnyKind",
    "ContainerKind",
    "DateTimeKind",
    "DictKind",
    "EnumKind",
    "Field",
    "FieldsKind",
    "FloatKind",
    "FrozenSetKind",
    "IntKind",
    "Kind",
    "ListKind",
    "LiteralKind",
    "NoneKind",
    "RecordKind",
    "ScalarKind",
    "SetKind",
    "StrKind",
    "TimeKind",
    "TupleKind",
    "UnionKind",
    "ValueKind",
    "VarTupleKind",
    "reachable",
    "stored_key",
]

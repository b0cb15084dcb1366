"""References: a field that holds the key of a dict elsewhere, which must be there.

    class Order(cairndb.Record):
        customer: Annotated[str, cairndb.Ref("customers", on_delete="cascade")]

Links between records are keys, since the tree has no second parents. `Ref` says which dict a key is
of: at commit it must be there, and what becomes of the reference when it goes is settled.
"""

from __future__ import annotations

from typing import Literal, get_args

from cairndb.errors import UsageError

OnDelete = Literal["refuse", "cascade", "clear"]


class Ref:
    """Annotates a key of a dict of the tree: `Annotated[str, Ref("customers")]`.

    Args:
        target: the path of the dict, from the root.
        on_delete: what happens when the key that is referred to is deleted: `"refuse"` rejects the
            update, `"cascade"` deletes the record that refers to it, `"clear"` makes the field
            None, or takes the key out of the list or set that has it.
    """

    __slots__ = ("on_delete", "target")

    def __init__(self, target: str, *, on_delete: OnDelete = "refuse") -> None:
        if on_delete not in get_args(OnDelete):
            raise UsageError(f'on_delete is "refuse", "cascade" or "clear", not {on_delete!r}')
        self.target = target
        self.on_delete = on_delete

    def __repr__(self) -> str:
        return f"Ref({self.target!r}, on_delete={self.on_delete!r})"

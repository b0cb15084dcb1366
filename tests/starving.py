"""A program that lets each memory allocation of something fail in turn, and checks what is left.

    python starving.py SCENE FIRST WIDTH LAST

Allocation number FIRST and the WIDTH - 1 after it fail (all, if WIDTH is 0), then those from
FIRST + 1 on, and so on, until nothing fails any more or LAST is past. Before each a line says the
number; what is wrong is raised. The interpreter itself may not survive an allocation that fails:
then the number printed last tells where to go on. Needs `_testcapi`, which some systems leave out
of Python.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import cairndb
from cairndb.appender_parts import StoreOptions
from cairndb.opening import own
from cairndb.schema import compile_root
from cairndb.transaction import Update, View
from simulated import SimulatedDirectory, World
from threads import Aside

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.engine import Engine

Root = dict[str, int | str | list[int]]
KIND = compile_root(Root, guard=True)
TINY = StoreOptions(segment_bytes_min=2048, segment_bytes_max=2048)
OLD: Root = {"n": 1, "list": [1, 2, 3]}
NEW: Root = {"n": 2, "list": [1, 5, 3, 4], "m": "new"}
# So many allocations in a row that made no difference: it is over.
CLEAN = 60


def opened(world: World) -> Engine:
    """An owner of the world."""
    return own(SimulatedDirectory(world), KIND, create=True, options=TINY).engine


def begin(engine: Engine, **more: str) -> None:
    """The state before."""
    with Update[Root](engine, None, durable=True) as root:
        root.update(OLD)
        root.update(more)


def update(engine: Engine, *, durable: bool = True, filling: str = "new") -> None:
    """The change that is made."""
    with Update[Root](engine, None, durable=durable) as root:
        root["n"] = 2
        numbers: Any = root["list"]
        numbers[1] = 5
        numbers.append(4)
        root["m"] = filling


def rotate(engine: Engine) -> None:
    """A change for which the segment has no room."""
    update(engine, filling="x" * 3000)


def refuse(engine: Engine) -> None:
    """A change that is dropped."""
    try:
        with Update[Root](engine, None, durable=True) as root:
            root["n"] = root["nothing"]
    except KeyError:
        pass


def view(engine: Engine) -> None:
    """A view of something that isn't durable yet."""
    with View[Root](engine, None, durable=True) as root:
        assert root["n"] == 1


def sync(engine: Engine) -> None:
    """A sync with something to write."""
    engine.sync()


def close(engine: Engine) -> None:
    """The end."""
    engine.close()


SCENES = {
    scene.__name__: scene
    for scene in (update, partial(update, durable=False), rotate, refuse, view, sync, close)
    if not isinstance(scene, partial)
} | {"write": partial(update, durable=False)}


def starve(act: Callable[[], object], first: int, width: int) -> BaseException | None:
    """Run it while allocations fail; what it raised."""
    # Not everywhere, and nothing that type checkers know.
    nomemory = importlib.import_module("_testcapi")

    try:
        nomemory.set_nomemory(first, first + width if width else 0)
        try:
            act()
        finally:
            nomemory.remove_mem_hooks()
    except BaseException as error:  # noqa: BLE001  told from what is right by the caller
        error.__traceback__ = None
        return error
    return None


def read(engine: Engine) -> Root:
    """All there is, but for what varies in length."""
    with View[Root](engine, 5.0, durable=True) as root:
        found = {key: list(v) if isinstance(v, list) else v for key, v in root.items()}
    if "m" in found:
        found["m"] = "new"
    found.pop("late", None)
    return found


def check_left(world: World, engine: Engine, error: BaseException | None, scene: str) -> None:
    """The object works or is dead; its state is the log's; the update is there whole or not."""
    changes = scene in {"update", "rotate", "write"}
    allowed = [OLD, NEW] if changes and error is not None else [NEW if changes else OLD]
    shown: Root | None = None
    if engine.refusal is None:
        shown = Aside(partial(read, engine)).result()
        assert shown in allowed, (shown, error)
        assert Aside(partial(put_late, engine)).result()
        assert Aside(partial(read, engine)).result() == shown
    else:
        assert isinstance(engine.refusal(), cairndb.DatabaseFailed | cairndb.UsageError)
        for call in (partial(read, engine), partial(put_late, engine), engine.sync):
            try:
                Aside(call).result()
            except (cairndb.DatabaseFailed, cairndb.UsageError):
                continue
            raise AssertionError("a dead object answered")
    try:
        engine.close()
    except cairndb.DatabaseFailed:
        assert shown is None
    assert not world.locks
    again = opened(world)
    found = read(again)
    assert found in allowed, (found, error)
    assert shown is None or found == shown, (found, shown, error)
    again.close()


def put_late(engine: Engine) -> bool:
    """One more update."""
    with Update[Root](engine, 5.0, durable=True) as root:
        root["late"] = 1
    return True


def tried(scene: str, number: int, width: int) -> BaseException | None:
    """Let it fail at one place, and check what is left."""
    world = World()
    error: BaseException | None
    if scene == "recover":
        first = opened(world)
        begin(first)
        first.close()
        directory = SimulatedDirectory(world)
        engines: list[Engine] = []

        def recover() -> None:
            engines.append(own(directory, KIND, create=False, options=TINY).engine)

        error = starve(recover, number, width)
        gc.collect()
        if not engines:
            directory.close()
            engines.append(opened(world))
        engine = engines[0]
    else:
        engine = opened(world)
        begin(engine)
        if scene in {"view", "sync", "close"}:
            with Update[Root](engine, None, durable=False) as root:
                root["late"] = 0
        error = starve(partial(SCENES[scene], engine), number, width)
    check_left(world, engine, error, scene)
    return error


class Item(cairndb.Record):
    """What is indexed."""

    n: int


class Items(cairndb.Record):
    """A root with an index."""

    items: dict[str, Item] = {}
    by_n = cairndb.Index(Item, "items/*", key=lambda item: item.n, ordered=True)


INDEXED = compile_root(Items, guard=True)


def found_by(engine: Engine) -> dict[int, list[Any]]:
    """What the index finds, which must be what there is."""
    with View[Items](engine, 5.0, durable=True) as root:
        found = {n: sorted(root.by_n.paths(n)) for n in root.by_n.keys()}  # noqa: SIM118  no dict
        there: dict[int, list[Any]] = {}
        for key in sorted(root.items):
            there.setdefault(root.items[key].n, []).append(("items", key))
    assert found == there, (found, there)
    return found


def change_items(engine: Engine) -> None:
    """An update of an index: a key changes, one comes, one goes; and the index is asked."""
    with Update[Items](engine, None, durable=True) as root:
        root.items["a"].n = 5
        root.items["c"] = Item(1)
        assert len(root.by_n[5]) == 1
        del root.items["b"]


def tried_indexed(number: int, width: int) -> BaseException | None:
    """Let an update of a root with an index fail at one place."""
    world = World()
    engine = own(SimulatedDirectory(world), INDEXED, create=True, options=TINY).engine
    with Update[Items](engine, None, durable=True) as root:
        root.items = {"a": Item(1), "b": Item(2)}
    before = found_by(engine)
    error = starve(partial(change_items, engine), number, width)
    after = {1: [("items", "c")], 5: [("items", "a")]}
    allowed = [after] if error is None else [before, after]
    if engine.refusal is None:
        assert Aside(partial(found_by, engine)).result() in allowed, error
    with contextlib.suppress(cairndb.DatabaseFailed):
        engine.close()
    again = own(SimulatedDirectory(world), INDEXED, create=True, options=TINY).engine
    assert found_by(again) in allowed, error
    again.close()
    return error


def main(scene: str, first: int, width: int, last: int) -> None:
    """See the module."""
    sys.unraisablehook = lambda _: None  # what fails in a `__del__`
    act = partial(tried, scene) if scene != "indexed" else tried_indexed
    act(1 << 30, width)  # imports, caches
    number, clean = first, 0
    while clean < CLEAN and number <= last:
        print(number, flush=True)  # noqa: T201  for whoever started this
        clean = clean + 1 if act(number, width) is None else 0
        number += 1
    print("end", number - 1 - clean, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

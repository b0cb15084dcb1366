"""Ctrl-C at every instruction where Python can notice it, in what tasks do."""

from __future__ import annotations

import asyncio
import gc
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from conftest import PROFILE
from interrupting import Strike, instrumented, interrupt, traced
from simulated import World
from tasks import TINY, Root, lock_is_free, opened
from threads import Aside, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from cairndb.database import Database


STEP = 1 if PROFILE == "nightly" else 5

# Of a call that was interrupted before it could begin.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


@pytest.fixture(autouse=True, scope="module")
def _instrumented() -> Iterator[None]:
    with instrumented():
        yield


def run_bare(coroutine: Coroutine[Any, Any, object]) -> None:
    """As `asyncio.run`, but with the plain handler of SIGINT, which raises anywhere."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(coroutine)
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.close()


async def _update(db: Database[Root]) -> None:
    await db.run_async(Root.add, 1)


async def _update_that_rotates(db: Database[Root]) -> None:
    async with db.update_async() as root:
        root.n += 1
        root.filling = "x" * 3000


async def _updates_beside_each_other(db: Database[Root]) -> None:
    async def fill() -> None:
        async with db.update_async() as root:
            await asyncio.sleep(0)
            root.filling = "x"

    other = asyncio.ensure_future(fill())
    await asyncio.sleep(0)
    await db.run_async(Root.add, 1)
    await other


async def _update_that_waits_for_a_view(db: Database[Root]) -> None:
    async def look() -> None:
        async with db.view_async():
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    other = asyncio.ensure_future(look())
    await asyncio.sleep(0)
    await db.run_async(Root.add, 1)
    await other


async def _view_that_syncs(db: Database[Root]) -> None:
    async with db.update_async(durable=False) as root:
        root.n += 1
    await db.run_async(Root.shown)


SCENES = {
    scene.__name__.strip("_").replace("_", " "): scene
    for scene in (
        _update,
        _update_that_rotates,
        _updates_beside_each_other,
        _update_that_waits_for_a_view,
        _view_that_syncs,
    )
}


def interrupted_at(scene: Callable[..., Coroutine[Any, Any, object]], number: int) -> Strike:
    """Interrupt a scene at its n-th place, and check what is left."""
    world = World()
    db = opened(world, options=TINY)
    with db.update() as root:
        root.filling = "y" * 1000
    strike = Strike(number, interrupt)
    raised = False
    try:
        with traced(strike):
            run_bare(scene(db))
    except KeyboardInterrupt:
        raised = True
    assert raised == strike.reached, f"swallowed at {strike.place}"
    if not lock_is_free(db):
        gc.collect()  # the task and its exception hold each other
    wait_until(lambda: lock_is_free(db))
    found = Aside(partial(db.run, Root.shown)).result()
    assert found in {0, 1}, strike.place
    assert raised or found == 1
    Aside(partial(db.run, Root.fill, 1)).result()
    db.close()
    with opened(world) as again:
        assert again.run(Root.shown) == found, strike.place
    return strike


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_an_interrupt_anywhere_in_a_task(name: str, evidence: Callable[[str, int], None]) -> None:
    """Nothing or all of it, in memory and in the log; no lock is left, and nobody hangs.

    At each instruction in `make nightly`; else at every fifth.
    """
    tried = 0
    for number in range(1, 5000, STEP):
        if not interrupted_at(SCENES[name], number).reached:
            break
        tried += 1
    assert 10 < tried < 4999 // STEP
    evidence("interrupts", tried)

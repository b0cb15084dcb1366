"""A ticket shop on the web, whose worker processes each have a replica.

The database has one owner, `cairn serve`. Each worker of the web server has a copy in memory, kept
up by the stream of updates: a page is made of Python objects, without asking anybody, and an index
finds what a customer has. A purchase is run by the owner, and when it returns the worker that ran
it shows it. Another worker may be a few milliseconds behind: so an answer says up to where it has
seen, and a request that says so in turn is answered by no page that is older.

    cairn serve ticket_shop:Shop shop.cairn --app-dir examples
    python examples/ticket_shop.py --workers 10

    curl -X POST localhost:8000/shows -d '{"title": "Hamlet", "seats": 2}'
    curl -X POST localhost:8000/shows/Hamlet/tickets -d '{"customer": "Kim"}' -i
    curl localhost:8000/customers/Kim -H 'Seen: 3'

If the owner dies, pages are still there; purchases wait for the next owner, or fail by their time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Annotated, Any

import uvicorn
from msgspec import Meta
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import cairndb
from cairndb import Index

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

DATABASE = "TICKET_SHOP_DATABASE"
BEHIND_SECONDS = 2.0
"""How long a page waits for what its reader has seen elsewhere."""
STALE_SECONDS = 10.0
"""Without a word from the owner for so long, a worker wants no visitors."""


class Ticket(cairndb.Record):
    """A seat that is sold."""

    seat: int
    customer: str


class Show(cairndb.Record):
    """What one can see."""

    seats: Annotated[int, Meta(ge=1)]
    tickets: dict[int, Ticket] = {}

    @cairndb.check
    def never_oversold(self) -> bool:
        """No more tickets than seats."""
        return len(self.tickets) <= self.seats


class SoldOut(Exception):  # noqa: N818  names the state of the show
    """There is no seat left."""


class Shop(cairndb.Record):
    """The root."""

    shows: dict[str, Show] = {}

    by_customer = Index(Ticket, "shows/*/tickets/*", key=lambda ticket: ticket.customer)

    @cairndb.update
    def announce(self, title: str, seats: int) -> None:
        """Begin to sell tickets."""
        self.shows.setdefault(title, Show(seats))

    @cairndb.update
    def buy(self, title: str, customer: str) -> int:
        """Sell the next seat; its number."""
        show = self.shows[title]
        seat = len(show.tickets) + 1
        if seat > show.seats:
            raise SoldOut(title)
        show.tickets[seat] = Ticket(seat, customer)
        return seat


# The web service. What it gets from its replica it gets in the event loop: that is all in memory.


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """A replica, for as long as the worker lives."""
    async with await asyncio.to_thread(cairndb.replica, os.environ[DATABASE], Shop) as shop:
        app.state.shop = shop
        yield


async def shop_of(request: Request) -> cairndb.Replica[Shop]:
    """The replica, when it shows what the visitor has seen before."""
    shop: cairndb.Replica[Shop] = request.app.state.shop
    await shop.wait_async(int(request.headers.get("Seen", "0")), timeout=BEHIND_SECONDS)
    return shop


def answer(shop: cairndb.Replica[Shop], content: Any) -> JSONResponse:
    """What a visitor gets: what there is, up to where that was seen, and by which worker."""
    return JSONResponse(content, headers={"Seen": str(shop.lsn), "Worker": str(os.getpid())})


async def listing(request: Request) -> JSONResponse:
    """GET /shows."""
    shop = await shop_of(request)
    async with shop.view_async() as state:
        free = {title: show.seats - len(show.tickets) for title, show in state.shows.items()}
    return answer(shop, free)


async def customer(request: Request) -> JSONResponse:
    """GET /customers/NAME."""
    shop = await shop_of(request)
    async with shop.view_async() as state:
        paths = state.by_customer.paths(request.path_params["name"])
    return answer(shop, [[title, seat] for _, title, _, seat in paths])


async def announce(request: Request) -> JSONResponse:
    """POST /shows."""
    shop, given = await shop_of(request), await request.json()
    await shop.run_async(Shop.announce, given["title"], given["seats"])
    return answer(shop, {})


async def buy(request: Request) -> JSONResponse:
    """POST /shows/TITLE/tickets."""
    shop, given = await shop_of(request), await request.json()
    seat = await shop.run_async(Shop.buy, request.path_params["title"], given["customer"])
    return answer(shop, {"seat": seat})


async def health(request: Request) -> JSONResponse:
    """GET /health: whether what this worker shows is fresh."""
    shop: cairndb.Replica[Shop] = request.app.state.shop
    lag = shop.lag
    content = {"behind": lag.lsns, "silent_seconds": lag.seconds, "problem": repr(shop.problem)}
    return JSONResponse(content, 503 if lag.seconds > STALE_SECONDS else 200)


async def conflict(_request: Request, error: Exception) -> JSONResponse:
    """What the visitor asked for can't be."""
    return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 409)


async def later(_request: Request, error: Exception) -> JSONResponse:
    """The owner is away, or this worker is behind."""
    return JSONResponse({"error": str(error)}, 503, headers={"Retry-After": "1"})


app = Starlette(
    routes=[
        Route("/shows", listing),
        Route("/shows", announce, methods=["POST"]),
        Route("/shows/{title}/tickets", buy, methods=["POST"]),
        Route("/customers/{name}", customer),
        Route("/health", health),
    ],
    exception_handlers={
        SoldOut: conflict,
        KeyError: conflict,
        cairndb.Unavailable: later,
        cairndb.OutcomeUnknown: later,
        cairndb.ReplicaBehind: later,
    },
    lifespan=lifespan,
)


def main() -> None:
    """Start the workers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", default="cairn://127.0.0.1:7379", help="where the owner is")
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--uds", help="a Unix socket to listen at, instead of a port")
    options = parser.parse_args()
    os.environ[DATABASE] = options.database
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    uvicorn.run(
        "ticket_shop:app",
        app_dir=here,
        workers=options.workers,
        port=options.port,
        uds=options.uds,
        log_level="warning",
    )


if __name__ == "__main__":
    main()

"""An HTTP client for tests: requests to an application in this process, in one event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import httpx

import cairndb
from bank import Bank, filled

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import ASGIApp


class Http:
    """Asks an application.

    Args:
        app: which.
        options: of `httpx.AsyncClient`.
    """

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        self.app = app
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test", **options
        )

    def ask(self, method: str, url: str, **options: Any) -> httpx.Response:
        """One request."""
        return self._runner.run(self._client.request(method, url, **options))

    def get(self, url: str, **options: Any) -> httpx.Response:
        """Read."""
        return self.ask("GET", url, **options)

    def run(self, method: str, *arguments: Any, **options: Any) -> httpx.Response:
        """Run a method, with arguments by position."""
        return self.ask("POST", f"/run/{method}", json=list(arguments), **options)

    def put(self, url: str, value: Any, **options: Any) -> httpx.Response:
        """Set."""
        return self.ask("PUT", url, json=value, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


class Served(Http):
    """A bank that is served, and closed in the end.

    Args:
        path: of the database.
        options: of `cairndb.asgi`.
    """

    def __init__(self, path: Path, **options: Any) -> None:
        self.db: cairndb.Database[Bank] = filled(path / "bank.cairn")
        super().__init__(cairndb.asgi(self.db, **options))

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.db.close()


def problem(response: httpx.Response) -> tuple[int, str]:
    """The status and name of the problem that a response tells."""
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert told["status"] == response.status_code
    assert told["title"]
    assert "detail" in told
    name = told["type"].removeprefix("urn:cairndb:problem:")
    assert name != told["type"]
    return response.status_code, name

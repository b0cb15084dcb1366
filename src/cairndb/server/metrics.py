"""What is counted and timed, for Prometheus: of operations by any protocol, and of the database.

All of it is in a registry of its own, so that an application that mounts the server keeps its
figures apart, and two databases in one process don't meet. Figures of a process are added by who
owns the process.

The time of an operation is that of its handler: locks and memory, not the disk, for which its
answer waits afterwards, together with others.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from cairndb.errors import CairnError, LockTimeout
from cairndb.locks_holders import WouldBlock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from cairndb.database import Database
    from cairndb.service import Answer, Handler, Request, Service

BUCKETS: Final = (
    *(0.000_01, 0.000_03, 0.000_1, 0.000_3, 0.001, 0.003),
    *(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
)
"""Seconds: from what a small method takes to what somebody should look at."""

_GAUGES: Final = {
    "lsn": ("cairndb_lsn", "The number of the last update applied in memory."),
    "durable_lsn": ("cairndb_durable_lsn", "The number of the last update known to be on disk."),
    "log_bytes": ("cairndb_log_bytes", "Size of the log's files, with room allocated ahead."),
    "watches": ("cairndb_watches", "Watches that are open, of any protocol."),
    "callback_lag": ("cairndb_callback_lag_updates", "How far the slowest on_commit lags."),
    "predicted_open_seconds": (
        "cairndb_predicted_open_seconds",
        "How long opening the database would take now.",
    ),
    "checkpoint_failures_in_a_row": (
        "cairndb_checkpoint_failures_in_a_row",
        "Checkpoints that failed since one was made.",
    ),
}


class Metrics:
    """The figures of one database that is served.

    Args:
        service: whose.

    Attributes:
        registry: to which others may add.
    """

    def __init__(self, service: Service) -> None:
        self.registry = CollectorRegistry()
        self._methods = service.methods
        self._requests = Counter(
            "cairndb_requests",
            "Operations by protocol, method and outcome: ok, or the class of an error.",
            ["protocol", "operation", "method", "outcome"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "cairndb_request_seconds",
            "Time that an operation's handler took, without the disk.",
            ["operation", "method"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._responses = Counter(
            "cairndb_http_responses",
            "Responses of HTTP, by what was asked for.",
            ["route", "status"],
            registry=self.registry,
        )
        self._response_seconds = Histogram(
            "cairndb_http_response_seconds",
            "Time to a response's first byte, the disk included.",
            ["route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_DatabaseFigures(service.database))
        # What `labels` finds, which takes longer than counting does.
        self._counters: dict[tuple[str, ...], Counter] = {}
        self._histograms: dict[tuple[str, str], Histogram] = {}

    def counted(self, handler: Handler) -> Handler:
        """A handler whose calls are counted and timed; a `Middleware`."""

        def handle(request: Request) -> Answer:
            started = time.perf_counter()
            outcome = "ok"
            try:
                answer = handler(request)
            except Exception as error:
                outcome = type(error).__name__
                if _is_tried_again(request, error):
                    outcome = ""
                raise
            else:
                if answer.error is not None:
                    outcome = type(answer.error).__name__
                    if _is_tried_again(request, answer.error):
                        outcome = ""
                return answer
            finally:
                if outcome:
                    self._count(request, outcome, time.perf_counter() - started)

        return handle

    def _count(self, request: Request, outcome: str, seconds: float) -> None:
        # Names that aren't methods are whatever somebody sends, and so are paths.
        operation = request.operation
        method = request.target if operation == "run" and request.target in self._methods else ""
        labels = request.protocol, operation, method, outcome
        counter = self._counters.get(labels)
        if counter is None:
            counter = self._counters[labels] = self._requests.labels(*labels)
        counter.inc()
        histogram = self._histograms.get((operation, method))
        if histogram is None:
            histogram = self._seconds.labels(operation, method)
            self._histograms[operation, method] = histogram
        histogram.observe(seconds)

    def note_response(self, route: str, status: int, seconds: float) -> None:
        """Count a response of HTTP.

        Args:
            route: one of a few.
            status: of the response.
            seconds: until its first byte.
        """
        self._responses.labels(route, str(status)).inc()
        self._response_seconds.labels(route).observe(seconds)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All figures as text, and its media type; it reads files.

        Args:
            accept: what Prometheus says that it takes.
        """
        encoder, media_type = choose_encoder(accept)
        return encoder(self.registry), media_type


def _is_tried_again(request: Request, error: Exception) -> bool:
    """Whether this was only the look whether there is a lock to wait for; see `Runner.submit`."""
    return request.timeout == 0 and isinstance(error, LockTimeout | WouldBlock)


class _DatabaseFigures(Collector):
    """What `Database.stats` says, as figures."""

    def __init__(self, database: Database[Any]) -> None:
        self._database = database

    def describe(self) -> Iterator[Metric]:
        """Nothing: that a registry asks for names is no reason to read files."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Each figure that there is."""
        try:
            stats = self._database.stats()
        except CairnError:  # closed, or failed
            yield GaugeMetricFamily("cairndb_up", "Whether the database can be used.", value=0)
            return
        yield GaugeMetricFamily("cairndb_up", "Whether the database can be used.", value=1)
        for key, (name, text) in _GAUGES.items():
            if stats.get(key) is not None:
                yield GaugeMetricFamily(name, text, value=stats[key])
        lag = max(stats["lsn"] - stats["durable_lsn"], 0)
        yield GaugeMetricFamily(
            "cairndb_lag_updates", "Updates applied and not known to be on disk.", value=lag
        )
        yield from _of_checkpoints(stats)


def _of_checkpoints(stats: dict[str, Any]) -> Iterator[Metric]:
    for key, text in (("made", "that were made."), ("failed", "that couldn't be made.")):
        if (count := stats.get(f"checkpoints_{key}")) is not None:
            yield CounterMetricFamily(
                f"cairndb_checkpoints_{key}", f"Checkpoints since it was opened {text}", value=count
            )
    checkpoints = stats.get("checkpoints")
    if checkpoints:
        made = datetime.fromisoformat(checkpoints[-1]["time"])
        age = (datetime.now(UTC) - made).total_seconds()
        yield GaugeMetricFamily(
            "cairndb_checkpoint_age_seconds", "Since the last checkpoint was made.", value=age
        )

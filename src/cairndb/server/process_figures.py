"""Figures of the process that serves, beside those of the database."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from cairndb.server.daemon import State
    from cairndb.server.memory import Watermark
    from cairndb.server.supervision import Supervision


class ProcessFigures(Collector):
    """What a daemon knows of itself.

    Args:
        state: of the daemon.
        supervision: knows what is slow.
        watermark: knows of memory.
    """

    def __init__(self, state: State, supervision: Supervision, watermark: Watermark) -> None:
        self._state = state
        self._supervision = supervision
        self._watermark = watermark

    def describe(self) -> Iterator[Metric]:
        """Nothing: the names are known when there are figures."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Each figure."""
        connections = GaugeMetricFamily(
            "cairndb_connections", "Connections that are open.", labels=["protocol"]
        )
        for name, served in self._state.served.items():
            connections.add_metric([name], served.connections)
        yield connections
        yield GaugeMetricFamily(
            "cairndb_start_time_seconds",
            "When the daemon began to serve, since the epoch.",
            value=self._state.started,
        )
        yield GaugeMetricFamily(
            "cairndb_running_requests",
            "Requests that are being handled in threads or in the loop.",
            value=len(self._supervision.running()),
        )
        yield CounterMetricFamily(
            "cairndb_slow_requests",
            "Requests that took longer than --method-seconds.",
            value=self._supervision.slow,
        )
        yield CounterMetricFamily(
            "cairndb_memory_refusals",
            "Updates that were refused since memory was short.",
            value=self._watermark.refused,
        )
        reading = self._watermark.reading
        if reading is not None:
            yield GaugeMetricFamily(
                "cairndb_memory_used_bytes", f"Of {reading.what}.", value=reading.used
            )
            yield GaugeMetricFamily(
                "cairndb_memory_limit_bytes", f"Of {reading.what}.", value=reading.limit
            )
        yield GaugeMetricFamily(
            "cairndb_allocated_blocks",
            "Blocks of memory that Python has given out.",
            value=sys.getallocatedblocks(),
        )

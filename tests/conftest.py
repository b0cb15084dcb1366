"""How many examples hypothesis tries, what a test may expect of its process, and the evidence.

Few examples and always the same, or, in `make nightly`, fifty times as many and new ones.
"""

import os
import signal
from collections.abc import Callable

import pytest
from hypothesis import settings

import evidence as table

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
settings.register_profile("default", deadline=None, max_examples=100, derandomize=True)
settings.register_profile("nightly", deadline=None, max_examples=5000, print_blob=True)
settings.load_profile(PROFILE)

# A shell without job control starts what runs in the background with SIGINT ignored, and so do some
# build servers; tests that interrupt themselves would then wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Callable[[str, int], None]:
    """Record how many cases of a kind a test has tried; see `evidence.ROWS`."""

    def record(key: str, count: int) -> None:
        assert key in table.ROWS
        request.node.user_properties.append((table.PROPERTY, (key, count)))

    return record


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--evidence=check` compares with what GUARANTEES.md promises, `write` writes it there."""
    parser.addoption("--evidence", choices=("check", "write"), help="compare or write the counts")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was counted, and do with it what was asked for."""
    reports = [
        report
        for category in ("passed", "failed")
        for report in terminalreporter.stats.get(category, [])
        if isinstance(report, pytest.TestReport) and report.when == "call"
    ]
    counts = table.total(item for report in reports for item in report.user_properties)
    for key, count in counts.items():
        terminalreporter.write_line(f"{count:>12,}  {table.ROWS[key]}")
    asked = terminalreporter.config.getoption("--evidence")
    tier = "nightly" if PROFILE == "nightly" else "test"
    text = table.GUARANTEES.read_text(encoding="utf-8")
    if asked == "write":
        table.GUARANTEES.write_text(table.rewritten(text, tier, counts), encoding="utf-8")
    # Where tests are skipped (no strace, not root) fewer are tried than the table says.
    missing = [] if terminalreporter.stats.get("skipped") else table.shortfall(text, tier, counts)
    if asked == "check" and missing:
        raise pytest.UsageError("\n".join(missing))

"""The example of the page about cancellation runs, as it stands."""

import re
import runpy
import signal
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
FIRST_LINE = "# A server that says everything twice"


def test_the_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that answers, and stops at SIGTERM with whoever it serves."""
    pages = [page.read_text(encoding="utf-8") for page in sorted(DOCS.rglob("*.md"))]
    example_of = re.compile(rf"^```python\n({FIRST_LINE}.*?)^```$", re.MULTILINE | re.DOTALL)
    (example,) = example_of.findall("".join(pages))
    program = tmp_path / "example.py"
    program.write_text(example, encoding="utf-8")
    previous = signal.getsignal(signal.SIGTERM)
    try:
        namespace = runpy.run_path(str(program))
    finally:
        signal.signal(signal.SIGTERM, previous)

    assert namespace["stopping"].reason == "SIGTERM"
    assert "b'twice twice '\n" in capsys.readouterr().out

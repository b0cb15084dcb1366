"""The README's example is a program, and it runs."""

import re
import runpy
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def python_blocks() -> list[str]:
    """The Python examples of the README, in order."""
    return re.findall(
        r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def test_the_first_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first block runs as it stands, in an empty directory, then once more on what it left."""
    program = tmp_path / "example.py"
    program.write_text(python_blocks()[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(program), run_name="example")
    first = capsys.readouterr().out
    runpy.run_path(str(program), run_name="example")
    assert first, "an example that prints nothing shows nothing"
    assert capsys.readouterr().out

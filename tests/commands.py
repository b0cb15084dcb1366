"""What the tests of the `cairn` command run it with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cairndb import cli

if TYPE_CHECKING:
    import pytest


class Cairn:
    """Runs commands and keeps what they say."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.error = ""

    def __call__(self, *arguments: object, code: int = 0) -> str:
        """The output of a command that must end with that code; an error is one line."""
        self._capsys.readouterr()
        ended = cli.run([str(argument) for argument in arguments])
        output, self.error = self._capsys.readouterr()
        assert (ended, self.error == "") == (code, code == 0), (output, self.error)
        assert self.error.count("\n") == (code != 0)
        assert "Traceback" not in self.error
        return output

    def json(self, *arguments: object, code: int = 0) -> Any:
        """The same, read as JSON."""
        return json.loads(self(*arguments, code=code))

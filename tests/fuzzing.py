"""Coverage-guided fuzzing of what reads files: `make fuzz ARGUMENTS="SECONDS [TARGET ...]"`.

Each target of `hostile` runs so many seconds (60) in a process of its own, which begins with the
seeds of that target. The fuzzer, atheris, counts the library's own lines and branches, and keeps
the inputs that reach new ones. An input that breaks a promise ends it: it is written to a file,
which is named.
"""

import importlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

INPUT_BYTES_MAX = 4096
MEMORY_MIB = 1024


def fuzz(target: str, seconds: int, folder: Path) -> int:
    """Run one target in a process of its own.

    Args:
        target: see `hostile.TARGETS`.
        seconds: how long.
        folder: for the corpus, and for the input that was too much.

    Returns:
        How many inputs were tried.

    Raises:
        AssertionError: one of them broke a promise; with the end of the output.
    """
    corpus = folder / target
    corpus.mkdir()
    limits = [f"-max_len={INPUT_BYTES_MAX}", f"-rss_limit_mb={MEMORY_MIB}", "-timeout=10"]
    command = [sys.executable, __file__, "--run", target, str(corpus), *limits]
    command += [f"-max_total_time={seconds}", "-print_final_stats=1"]
    command += [f"-artifact_prefix={folder}/"]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, env=os.environ
    )
    assert done.returncode == 0, f"{target}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    tried = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    assert tried is not None, done.stderr[-2000:]
    return int(tried[1])


def run(target: str, corpus: str, options: list[str]) -> None:
    """Be the process of one target; doesn't return."""
    atheris: Any = importlib.import_module("atheris")  # only there if somebody wants to fuzz

    with atheris.instrument_imports(include=["cairndb"]):
        import hostile  # noqa: PLC0415  instrumented by being imported here

    for number, seed in enumerate(hostile.seeds(target)):
        (Path(corpus) / f"seed-{number}").write_bytes(seed)
    take = hostile.TARGETS[target]
    tokens = Path(corpus).parent / f"{target}.tokens"
    tokens.write_text(
        "".join(
            '"{}"\n'.format("".join(f"\\x{byte:02X}" for byte in token))
            for token in hostile.TOKENS
            if len(token) < 64
        ),
        encoding="ascii",
    )
    atheris.Setup(["fuzz", *options, f"-dict={tokens}", corpus], lambda data: take(bytes(data)))
    atheris.Fuzz()


def main() -> int:
    """Fuzz the targets that are named, or all."""
    import hostile  # noqa: PLC0415  not before `run` instruments it

    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    folder = Path(tempfile.mkdtemp(prefix="cairndb-fuzz-"))
    for target in sys.argv[2:] or hostile.TARGETS:
        try:
            tried = fuzz(target, seconds, folder)
        except AssertionError as error:
            sys.stdout.write(f"{error}\nThe input is in {folder}\n")
            return 1
        sys.stdout.write(f"{target}: {tried:,} inputs\n")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run(sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        sys.exit(main())

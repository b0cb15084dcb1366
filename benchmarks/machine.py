"""What the figures of a benchmark depend on: the machine, the system, the versions."""

import os
import platform
import resource
import subprocess
import sysconfig
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from sqlite3 import sqlite_version

PAGE = resource.getpagesize()


def machine(
    folder: Path | None = None, packages: Iterable[str] = ("cairndb", "msgspec")
) -> dict[str, str]:
    """The machine in words.

    Args:
        folder: where the data was, if its file system matters.
        packages: whose versions matter.
    """
    found = {
        "machine": f"{platform.machine()}, {processor()}, {os.cpu_count()} processors",
        "system": platform.platform(),
    }
    if folder is not None:
        found["file system"] = file_system(folder)
    found["python"] = f"{platform.python_version()}, {build()}"
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    found["sqlite"] = sqlite_version
    return found


def build() -> str:
    """Whether this Python was configured to be compiled with a profile, which makes it quicker."""
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    how = "with" if "--enable-optimizations" in arguments else "without"
    return f"configured {how} --enable-optimizations"


def processor() -> str:
    """The processor's name, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "processor unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "processor unknown"


def file_system(folder: Path) -> str:
    """The type of the file system that a folder is on."""
    done = subprocess.run(  # noqa: S603  a fixed program, our own folder
        ["df", "--output=fstype", str(folder)],  # noqa: S607  wherever it is
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split()[-1] if done.returncode == 0 and done.stdout.split() else "unknown"


def redis_version(server: str) -> str:
    """Of a redis-server."""
    done = subprocess.run(  # noqa: S603  found on the path
        [server, "--version"], capture_output=True, text=True, check=True
    )
    words = dict(word.split("=", 1) for word in done.stdout.split() if "=" in word)
    return words.get("v", "unknown")


def resident() -> int:
    """The memory of this process now; where the system doesn't say, the most that it had."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

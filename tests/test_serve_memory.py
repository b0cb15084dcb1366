"""Memory: what the system says there is, and that updates are refused before it is used up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import cairndb
from bank import Bank, filled
from cairndb.errors import MemoryWatermark
from cairndb.server.handling import spared
from cairndb.server.memory import (
    LOOK_SECONDS,
    Reading,
    Watermark,
    resident_bytes,
    system_reading,
)
from cairndb.service import Request, Service
from cairndb.service_access import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20


class Machine:
    """What /proc and /sys say of a machine.

    Args:
        folder: where it is made.
    """

    def __init__(self, folder: Path) -> None:
        self.proc = folder / "proc"
        self.groups = folder / "groups"
        self.write("proc/meminfo", "MemTotal: 8192 kB\nMemAvailable: 2048 kB\n")
        self.folder = folder

    def write(self, name: str, text: str) -> None:
        """A file of the system's."""
        path = self.proc.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def group(self, name: str, limit: str, used: int, files: int) -> None:
        """A control group, version 2."""
        self.write(f"groups/{name}/memory.max", f"{limit}\n")
        self.write(f"groups/{name}/memory.current", f"{used}\n")
        stat = f"anon 5\ninactive_file {files // 2}\nactive_file {files - files // 2}\n"
        self.write(f"groups/{name}/memory.stat", stat)

    def reading(self) -> tuple[int, int] | None:
        """What is used of how much."""
        found = system_reading(self.proc, self.groups)
        return None if found is None else (found.used, found.limit)


@pytest.fixture(name="machine")
def _machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_limits_the_machine_counts(machine: Machine) -> None:
    """What isn't available is used, of all that there is."""
    machine.write("proc/self/cgroup", "0::/some/group\n")
    machine.group("some/group", "max", 5000, 0)

    assert machine.reading() == (6144 << 10, 8192 << 10)


def test_a_control_groups_limit_counts(machine: Machine) -> None:
    """Of version 2: what it uses, but for what the kernel keeps of files and drops first."""
    machine.write("proc/self/cgroup", "0::/some/group\n")
    machine.group("some/group", "1000", 900, 300)

    assert machine.reading() == (600, 1000)


def test_the_tightest_of_the_groups_counts(machine: Machine) -> None:
    """A group is bound by the limits of those around it."""
    machine.write("proc/self/cgroup", "0::/some/group\n")
    machine.group("some/group", "1000", 100, 0)
    machine.group("some", "500", 400, 0)

    assert machine.reading() == (400, 500)


def test_in_a_container_its_own_group_is_the_root(machine: Machine) -> None:
    """The name that /proc tells may be none that is seen from inside."""
    machine.write("proc/self/cgroup", "0::/../../outside\n")
    machine.group("", "1000", 900, 0)

    assert machine.reading() == (900, 1000)


def test_version_1_of_control_groups_counts(machine: Machine) -> None:
    """With its own names of files, beside other controllers."""
    machine.write("proc/self/cgroup", "3:cpuset:/\n2:memory:/job\n0::/\n")
    machine.write("groups/memory/job/memory.limit_in_bytes", "1000\n")
    machine.write("groups/memory/job/memory.usage_in_bytes", "900\n")
    stat = "inactive_file 1\ntotal_inactive_file 100\ntotal_active_file 50\n"
    machine.write("groups/memory/job/memory.stat", stat)
    machine.write("groups/memory/memory.limit_in_bytes", "9223372036854771712\n")
    machine.write("groups/memory/memory.usage_in_bytes", "5000\n")

    assert machine.reading() == (750, 1000)


def test_what_cannot_be_read_is_no_limit(tmp_path: Path) -> None:
    """A system without any of these refuses nothing."""
    assert system_reading(tmp_path / "proc", tmp_path / "groups") is None
    assert resident_bytes(tmp_path / "proc") == 0
    Watermark(0.5, read=lambda: None).check()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_this_machine_says_something() -> None:
    """The real files are understood."""
    reading = system_reading(Path("/proc"), Path("/sys/fs/cgroup"))

    assert resident_bytes() > 10 * MIB
    assert reading is not None
    assert 0 < reading.used <= reading.limit


class Clock:
    """Time that a test lets pass."""

    now = 100.0

    def __call__(self) -> float:
        """In seconds."""
        return self.now


def test_it_refuses_above_the_watermark_and_looks_again() -> None:
    """It looks at most every tenth of a second, and refuses as long as what it saw was too much."""
    clock, seen = Clock(), [Reading(91, 100, "test"), Reading(90, 100, "test")]
    looks: list[Reading] = []

    def read() -> Reading:
        looks.append(seen.pop(0))
        return looks[-1]

    watermark = Watermark(0.9, read=read, clock=clock)
    for _ in range(3):
        with pytest.raises(MemoryWatermark, match="above 90% updates are refused"):
            watermark.check()
        clock.now += LOOK_SECONDS / 4
    assert len(looks) == 1
    clock.now += LOOK_SECONDS

    watermark.check()

    assert watermark.refused == 3
    assert watermark.reading == Reading(90, 100, "test")


def test_without_a_watermark_it_does_not_look() -> None:
    """0 never refuses, and costs nothing."""

    def read() -> Reading:
        raise AssertionError

    Watermark(0.0, read=read).check()


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Iterator[Service]:
    with filled(tmp_path / "bank.cairn") as db:
        yield Service(db, Bank)


def test_only_updates_are_refused(service: Service) -> None:
    """Queries and paths are read however little memory there is; nothing is changed."""
    handler = spared(service, Watermark(0.5, read=lambda: Reading(1, 1, "test")))(service.handle)

    def asked(operation: str, target: str, data: bytes = b"") -> object:
        request = Request(operation, target, data=data, grant=EVERYTHING)  # type: ignore[arg-type]
        return handler(request).error

    assert asked("run", "total") is None
    assert asked("get", "/accounts/alice") is None
    for operation, target, data in (
        ("run", "transfer", b'["alice", "bob", 1]'),
        ("set", "/name", b'"new"'),
    ):
        with pytest.raises(MemoryWatermark):
            asked(operation, target, data)
    assert service.database.lsn == 2
    assert isinstance(service.database, cairndb.Database)

"""Which figures `make bench-check` compares, and how many operations make each.

Names and numbers only: what is done is in check_work.py, which knows cairndb, and this is read by
those who must not have imported it.
"""

from typing import Final, Literal, NamedTuple

# How a figure comes about: operations that are counted or timed in a running process, an import in
# a fresh one, or a number of bytes, which is the same whenever it is asked for.
Kind = Literal["operations", "import", "bytes"]

RECORDS: Final = 100
"""In the database that is read and updated: what costs more with more is for `make bench`."""


class Figure(NamedTuple):
    """One figure: its name, what one operation is, and how many are done at a time.

    `counted` is for instructions, of which a few hundred operations give a mean that doesn't move;
    `timed` is for processor time, of which some ten milliseconds are needed.
    """

    name: str
    per: str
    counted: int
    timed: int
    kind: Kind = "operations"


FIGURES: Final = (
    Figure("empty view", "view", 500, 10_000),
    Figure("read a field, guarded", "read", 5000, 200_000),
    Figure("read a field, unguarded", "read", 5000, 200_000),
    Figure("iterate", "record", 10_000, 300_000),
    Figure("update of one field", "update", 100, 400),
    Figure("update of two fields", "update", 100, 400),
    Figure("append to a list", "update", 100, 400),
    Figure("new record", "update", 100, 400),
    Figure("update in a task", "update", 100, 400),
    Figure("load in one update", "record", 300, 1000),
    Figure("open a small database", "opening", 1, 2),
    Figure("open a checkpoint", "record", 500, 10_000),
    Figure("replay the log", "update", 300, 4000),
    Figure("import cairndb", "import", 1, 1, "import"),
    Figure("log of one update", "bytes", 100, 100, "bytes"),
    Figure("memory of a record", "bytes", 500, 500, "bytes"),
)

"""The counts in GUARANTEES.md: written by a run, and held against every later one."""

from evidence import BEGIN, END, GUARANTEES, ROWS, TIERS, promised, rewritten, shortfall, total

EMPTY = f"before\n\n{BEGIN}\n{END}\n\nafter\n"


def test_counts_of_one_key_add_up() -> None:
    """What several tests record under a key is one row; other properties are left alone."""
    recorded = [("evidence", ["images", 3]), ("other", 7), ("evidence", ["images", 4])]
    assert total(recorded) == {"images": 7}


def test_what_is_written_is_promised() -> None:
    """A column that was written is read back; the other column stays, and so does the text."""
    text = rewritten(EMPTY, "nightly", {"images": 1_000_000})
    text = rewritten(text, "test", {"images": 50_000, "faults": 10})
    assert promised(text, "test") == dict.fromkeys(ROWS, 0) | {"images": 50_000, "faults": 10}
    assert promised(text, "nightly")["images"] == 1_000_000
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")


def test_a_run_that_comes_to_less_than_promised_is_named() -> None:
    """As much or more is fine; less is told with both counts."""
    text = rewritten(EMPTY, "test", {"images": 50_000})
    assert shortfall(text, "test", {"images": 50_000}) == []
    (line,) = shortfall(text, "test", {"images": 49_999})
    assert "50,000" in line
    assert "49,999" in line


def test_counts_are_rounded_down_to_their_first_digit() -> None:
    """What differs a little from run to run is promised a little less."""
    assert promised(rewritten(EMPTY, "test", {"images": 95_770, "faults": 7}), "test") == {
        **dict.fromkeys(ROWS, 0),
        "images": 90_000,
        "faults": 7,
    }


def test_the_document_has_the_table() -> None:
    """Every row that tests can record is in GUARANTEES.md."""
    text = GUARANTEES.read_text(encoding="utf-8")
    assert [set(promised(text, tier)) for tier in TIERS] == [set(ROWS), set(ROWS)]

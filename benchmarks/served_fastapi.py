"""What a Python developer would write instead: FastAPI on SQLite, for `served.py`.

    uvicorn served_fastapi:app        with the file's path in SERVED_SQLITE

Endpoints are plain functions, which FastAPI runs in its threads, each with a connection of its own:
so the event loop never waits for a sync. WAL and synchronous=FULL: what has returned is on disk.
"""

import os
import sqlite3
import threading

from fastapi import FastAPI
from served_bank import ACCOUNTS, key_of

app = FastAPI()
_threads = threading.local()


def connection() -> sqlite3.Connection:
    """This thread's."""
    found: sqlite3.Connection | None = getattr(_threads, "connection", None)
    if found is None:
        found = sqlite3.connect(os.environ["SERVED_SQLITE"], timeout=60, isolation_level=None)
        found.execute("PRAGMA journal_mode=WAL")
        found.execute("PRAGMA synchronous=FULL")
        _threads.connection = found
    return found


@app.post("/fill")
def fill() -> int:
    """Make accounts."""
    here = connection()
    here.execute("CREATE TABLE accounts (key TEXT PRIMARY KEY, owner TEXT, balance INTEGER)")
    here.execute("BEGIN")
    rows = ((key_of(number), f"Owner {number}", 100) for number in range(ACCOUNTS))
    here.executemany("INSERT INTO accounts VALUES (?, ?, ?)", rows)
    here.execute("COMMIT")
    return ACCOUNTS


@app.post("/deposit")
def deposit(key: str, amount: int) -> int:
    """Change one field, and return it."""
    row = connection().execute(
        "UPDATE accounts SET balance = balance + ? WHERE key = ? RETURNING balance", (amount, key)
    )
    ((balance,),) = row.fetchall()
    return int(balance)


@app.get("/balance")
def balance(key: str) -> int:
    """Read one field."""
    row = connection().execute("SELECT balance FROM accounts WHERE key = ?", (key,))
    ((found,),) = row.fetchall()
    return int(found)

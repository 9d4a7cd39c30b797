"""Conversations in a SQLite file: they survive a restart, and many threads and processes may use the file at once."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from .history import Message, Record

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Sequence

SCHEMA_VERSION: Final = 1
_APPLICATION_ID: Final = 0x746C6564
"""Marks the file as ours, in SQLite's own header."""
_BUSY_TIMEOUT_S: Final = 30.0
_MESSAGES: Final = """CREATE TABLE messages (
    conversation TEXT NOT NULL, number INTEGER NOT NULL, message TEXT NOT NULL, PRIMARY KEY (conversation, number)
) WITHOUT ROWID"""
_STATE: Final = """CREATE TABLE state (
    conversation TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (conversation, name)
) WITHOUT ROWID"""
_LAST: Final = "SELECT coalesce(max(number) + 1, 0) FROM messages WHERE conversation = ?"


class SQLiteHistory:
    """Conversations in one SQLite file, which is made where there is none.

    Each use opens the file and closes it: so threads, processes and forks need no care. What was appended is on disk
    when ``append`` returns.

    Args:
        path: the file; its folder must exist.

    Raises:
        ValueError: if it is no file of conversations, is broken, or was written by a later version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if str(path) == ":memory:":
            raise ValueError("SQLiteHistory needs a file; MemoryHistory keeps conversations in memory")
        self._path = Path(path)
        with self._opened() as connection:
            self._prepare(connection)

    def load(self, conversation_id: str, /) -> Record:
        """Return what is kept of a conversation, an empty record where there is nothing."""
        with self._opened() as connection:
            connection.execute("BEGIN")
            texts = connection.execute(
                "SELECT message FROM messages WHERE conversation = ? ORDER BY number", (conversation_id,)
            ).fetchall()
            values = connection.execute(
                "SELECT name, value FROM state WHERE conversation = ?", (conversation_id,)
            ).fetchall()
            connection.execute("COMMIT")
        return Record([orjson.loads(text) for (text,) in texts], {name: orjson.loads(text) for name, text in values})

    def append(self, conversation_id: str, messages: Sequence[Message], /) -> None:
        """Add messages behind those that are there, all or none of them.

        Raises:
            TypeError: if a message is no JSON.
        """
        texts = [orjson.dumps(message).decode() for message in messages]
        with self._opened() as connection, _writing(connection):
            (first,) = connection.execute(_LAST, (conversation_id,)).fetchone()
            rows = [(conversation_id, first + number, text) for number, text in enumerate(texts)]
            connection.executemany("INSERT INTO messages VALUES (?, ?, ?)", rows)

    def set_state(self, conversation_id: str, name: str, value: Any, /) -> None:
        """Keep a named JSON value of the conversation; None forgets it."""
        text = None if value is None else orjson.dumps(value).decode()
        with self._opened() as connection, _writing(connection):
            connection.execute("DELETE FROM state WHERE conversation = ? AND name = ?", (conversation_id, name))
            if text is not None:
                connection.execute("INSERT INTO state VALUES (?, ?, ?)", (conversation_id, name, text))

    @contextmanager
    def _opened(self) -> Generator[sqlite3.Connection]:
        try:
            # Transactions are begun by hand: a writer must take its lock before it reads where the history ends.
            with closing(sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)) as connection:
                yield connection
        except sqlite3.OperationalError as error:
            raise OSError(f"the history {self._path} cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{self._path} is no history of conversations, or is broken: {error}") from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")  # readers do not wait for a writer
        with _writing(connection):  # of many processes that begin at once, one makes the tables
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if owner != _APPLICATION_ID and (tables or owner or version):
                raise ValueError(f"{self._path} is a database of something else, not a history of conversations")
            if version > SCHEMA_VERSION:
                raise ValueError(
                    f"{self._path} was written by a later turnledger (schema {version}, known: {SCHEMA_VERSION})"
                )
            if owner != _APPLICATION_ID:
                for table in (_MESSAGES, _STATE):
                    connection.execute(table)
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


@contextmanager
def _writing(connection: sqlite3.Connection) -> Generator[None]:
    """Hold the file's write lock from before the first read until all is written; a failure takes it all back."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")

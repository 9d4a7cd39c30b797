"""The ledger: a store opened for reading, as a DuckDB connection with the SQL models as views.

What is seen is the store as it was when it was opened; open it again to see later calls.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import duckdb
import polars as pl

from ..exporters.schema import SPAN_SCHEMA
from ..exporters.store import Store
from ..instrument.documents import load_documents
from . import sql as models
from .files import parquet_list, stored_spans
from .grouping import cost_keys, cost_query, key_columns
from .one_conversation import messages_query
from .pricing.effective import effective_prices
from .pricing.newer import BookError, book_of
from .pricing.overrides import PricesFileError, own_prices
from .pricing.relations import price_tables
from .providers import providers_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import pyarrow as pa

    from ..instrument.documents import Registry

_ORDER: Final[Mapping[str, str]] = {
    "calls": "started_at desc nulls last, call_id",
    "attempts": "started_at desc nulls last, call_id",
    "conversations": "last_started_at desc nulls last, conversation_id",
    "turns": "started_at desc nulls last, conversation_id, turn_index desc",
    "messages": "conversation_id, place, message_index",
}


class StoreError(Exception):
    """A store cannot be opened or read; the text says what, where and what to do."""


class Ledger:
    """A store opened for reading. Use it as a context manager, or ``close`` it.

    Attributes:
        store: the store.
        connection: the DuckDB connection; every SQL model is a view in it.
        book: the price book that its costs are computed with.
        own_prices: the user's prices, which come before it.
        problems: a line for every file of the store and every provider document that cannot be read and was left out,
            and for providers the store was configured with that are not as the documents are now.
    """

    def __init__(self, store: Store, *, memory_limit: str | None = None, threads: int | None = None) -> None:
        if not _is_there(store):
            raise StoreError(
                f"no store at {store.location}: record or import calls first, or name another with --store"
            )
        self.store = store
        self.connection = duckdb.connect(config=_config(memory_limit, threads))
        try:
            stored = stored_spans(store, self.connection)
            self._files = stored.files
            registry = load_documents()
            providers, stale = providers_of(store, registry)
            self.problems = (*stored.problems, *map(str, registry.refused), *stale)
            self.book, self.own_prices = book_of(store), own_prices(store)
            self._build(registry, providers, stored.spooled)
        except (BookError, PricesFileError) as error:
            self.connection.close()
            raise StoreError(str(error)) from error
        except (duckdb.Error, OSError) as error:
            self.connection.close()
            raise _unreadable(store, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def priced_by(self) -> str:
        """What computed costs are priced by, for reports: the price book's version, and the user's own prices."""
        own = self.own_prices.path
        return f"{self.book.version} and {own}" if own else self.book.version

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _build(self, registry: Registry, providers: pl.DataFrame, spooled: pa.Table) -> None:
        """Create tables and views, each on those before it."""
        self.connection.execute("set timezone = 'UTC'")
        self._table("spooled_spans", spooled)
        self.connection.execute(f"create view spans as {self._spans()}")
        self._table("providers", providers)
        for name, table in price_tables(self.connection, registry, self.book, self.own_prices.rules).items():
            self._table(name, table)
        for name in models.ORDER:
            kind = "table" if name in models.TABLES else "view"
            self.connection.execute(f"create {kind} {name} as {models.model_text(name)}")
        self._table("effective_prices", effective_prices(self.connection))

    def _table(self, name: str, table: Any) -> None:
        self.connection.register("incoming", table)
        self.connection.execute(f"create table {name} as select * from incoming")
        self.connection.unregister("incoming")

    def _spans(self) -> str:
        """Return the SQL of the spans: every column of today's schema, NULL where older files lack it."""
        described = self.connection.execute("describe spooled_spans").fetchall()
        types = {str(row[0]): str(row[1]) for row in described if row[0] in SPAN_SCHEMA.names}
        spooled = f"select {', '.join(types)} from spooled_spans"
        if not self._files:
            return spooled
        source = parquet_list(self._files)
        stored = set(self.connection.sql(f"select * from {source} limit 0").columns)
        columns = [f"{name if name in stored else 'null'}::{kind} as {name}" for name, kind in types.items()]
        return f"select {', '.join(columns)} from {source} union all {spooled}"

    def sql(self, query: str, parameters: Sequence[object] | Mapping[str, object] | None = None) -> pl.DataFrame:
        """Return the result of a query over the models.

        Args:
            query: one SQL statement, in DuckDB's dialect.
            parameters: values for its ``?`` or ``$name``.

        Raises:
            duckdb.Error: if the query is wrong or a file breaks off in the middle.
        """
        result: Any = self.connection.sql(query, params=parameters)
        return pl.DataFrame() if result is None else result.pl()

    def only_read(self) -> None:
        """From now on let queries read nothing but this store, and write nothing: for SQL that others wrote."""
        # A file's path is all that is allowed: a query can neither look elsewhere nor reach a network.
        self.connection.execute("set allowed_paths = ?", [self._files])
        self.connection.execute("set enable_external_access = false")
        self.connection.execute("set lock_configuration = true")

    def calls(
        self,
        *,
        conversation: str | None = None,
        provider: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> pl.DataFrame:
        """Return provider calls, newest first, those of unknown time last.

        Args:
            conversation: only those of this conversation.
            provider: only those to this provider, by its document's id.
            since: only those started at this moment or later; those of unknown time are left out then.
            limit: at most this many.
        """
        return self._select(
            "calls", {"conversation_id =": conversation, "provider =": provider, "started_at >=": since}, limit
        )

    def attempts(self, *, call: str | None = None, limit: int | None = None) -> pl.DataFrame:
        """Return the HTTP attempts of all calls, or of the one with this id; newest first."""
        return self._select("attempts", {"call_id =": call}, limit)

    def conversations(self, *, since: datetime | None = None, limit: int | None = None) -> pl.DataFrame:
        """Return one row per conversation, the one last continued first.

        Args:
            since: only those with a call at this moment or later.
            limit: at most this many.
        """
        return self._select("conversations", {"last_started_at >=": since}, limit)

    def turns(
        self, *, conversation: str | None = None, since: datetime | None = None, limit: int | None = None
    ) -> pl.DataFrame:
        """Return one row per turn (a user's input and every call until its answer), newest first.

        Args:
            conversation: only those of this conversation.
            since: only those begun at this moment or later.
            limit: at most this many.
        """
        return self._select("turns", {"conversation_id =": conversation, "started_at >=": since}, limit)

    def messages(self, *, conversation: str | None = None, limit: int | None = None) -> pl.DataFrame:
        """Return one row per message, without its text, in the order of conversations and within them.

        ``cost_usd`` adds up to the costs of calls. A message's ``written_cost_usd`` is what it cost when it was sent
        first or answered, ``resent_cost_usd`` its share of all calls that sent it again (``times_resent``), cached or
        not; ``total_cost_usd`` is both. These are NULL in rows of what a call sends again (``is_resent``).

        Args:
            conversation: only those of this conversation.
            limit: at most this many.
        """
        if conversation is None:
            return self._select("messages", {}, limit)
        last = "" if limit is None else f" limit {int(limit)}"
        return self.sql(f"{messages_query()} order by {_ORDER['messages']}{last}", {"conversation": conversation})

    def _select(self, model: str, conditions: Mapping[str, object], limit: int | None) -> pl.DataFrame:
        said = {condition: value for condition, value in conditions.items() if value is not None}
        where = " and ".join(f"{condition} ?" for condition in said) or "true"
        last = "" if limit is None else f" limit {int(limit)}"
        return self.sql(
            f"select * from {model} where {where} order by {_ORDER[model]}{last}",
            list(said.values()),
        )

    def costs(
        self,
        by: str | Sequence[str] = "conversation",
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        top: int | None = None,
    ) -> pl.DataFrame:
        """Return calls, tokens and costs, grouped; the highest cost first.

        Args:
            by: one or more of ``conversation``, ``turn`` (with its conversation), ``call``, ``provider``, ``upstream``,
                ``model``, ``surface``, ``operation``, ``strategy``, ``user``, ``day``, ``month``, ``observation``,
                ``source`` (of the cost) or ``tag:<name>``.
            since: only calls started at this moment or later; those of unknown time are left out then.
            until: only calls started before this moment; likewise.
            top: give only so many groups a row of their own. All others share the last row: its keys are NULL, and
                ``other_groups``, a column that there is only then, says how many they are.

        Returns:
            The grouping columns, then the counts of calls and tokens; ``cost_usd`` (NULL when nothing in the group has
            a cost), which is ``billed_cost_usd`` and ``computed_cost_usd``, the latter with ``estimated_cost_usd``; and
            what the cost does not hold: ``unpriced_calls``, and ``priced_part_usd``, the part of them with a price.

        Raises:
            ValueError: if ``by`` names something else, or ``top`` is less than one.
        """
        keys = cost_keys(by)
        frame = self.sql(cost_query(keys, top), {"since": since, "until": until})
        return frame.rename({f"key_{index}": name for index, name in enumerate(key_columns(keys))})


def open_ledger(
    store: str | os.PathLike[str] | None = None, *, memory_limit: str | None = None, threads: int | None = None
) -> Ledger:
    """Open a store for reading.

    Args:
        store: a folder, or an address such as ``s3://bucket/prefix``; default ``TURNLEDGER_STORE``, else
            ``./turnledger-data``.
        memory_limit: most memory DuckDB may use before it spills to a temporary folder, such as ``"2GB"``.
        threads: most threads it may use; default one a core.

    Raises:
        StoreError: if there is no store or it cannot be read.
    """
    return Ledger(Store.at(store), memory_limit=memory_limit, threads=threads)


def reason(error: Exception) -> str:
    """Return what an error says; of one raised while DuckDB read a file through us, not where."""
    said = str(error).strip()
    return said.splitlines()[-1] if said.startswith("Traceback") else said


def _unreadable(store: Store, error: Exception) -> StoreError:
    said = reason(error).removeprefix(f"{store.location}: ")
    return StoreError(f"the store at {store.location} cannot be read: {said}")


def _is_there(store: Store) -> bool:
    try:
        return store.is_there()
    except OSError as error:
        raise _unreadable(store, error) from error


def _config(memory_limit: str | None, threads: int | None) -> dict[str, Any]:
    config: dict[str, Any] = {
        # Nothing is fetched, and what spills goes to the machine's own place for it, not into the working folder.
        "autoinstall_known_extensions": False,
        "python_enable_replacements": False,  # a query names views, never variables of the program
        "parquet_metadata_cache": True,  # every view is bound to all files: read their footers once
        "temp_directory": str(Path(tempfile.gettempdir()) / f"turnledger-{os.getpid()}"),
    }
    if memory_limit is not None:
        config["memory_limit"] = memory_limit
    if threads is not None:
        config["threads"] = threads
    return config

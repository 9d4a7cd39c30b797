"""A newer price book than the bundled one, kept in a store: ``meta/prices.json``, as its publisher has it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from genai_prices.data_snapshot import DataSnapshot
from genai_prices.types import _providers_from_raw  # pyright: ignore[reportPrivateUsage]  as its own updater reads it
from genai_prices.update_prices import DEFAULT_UPDATE_URL

from ...exporters.store import META
from .book import Book, book_version

if TYPE_CHECKING:
    from ...exporters.store import Store

BOOK_FILE: Final = f"{META}/prices.json"
_MOST_BYTES: Final = 64 << 20
_TIMEOUT_S: Final = 30.0


class BookError(ValueError):
    """A price book cannot be had or read; the text says which, and what to do."""


class Updated(NamedTuple):
    """What an update brought."""

    version: str
    models: int
    path: str


def book_of(store: Store | None) -> Book:
    """Return the store's price book, the bundled one where it has none.

    Raises:
        BookError: if the store's book is damaged.
    """
    if store is None:
        return Book()
    path = store.storage.path(BOOK_FILE)
    try:
        with store.storage.open(BOOK_FILE) as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return Book()
    except OSError as error:
        raise BookError(f"{path}: cannot be read: {error}") from error
    return _parsed(data, path)


def update_book(store: Store, url: str = DEFAULT_UPDATE_URL) -> Updated:
    """Take the newest price book into a store; the one before stays where that fails.

    Args:
        store: the store.
        url: where the publisher has it.

    Raises:
        BookError: if it cannot be fetched or is none.
        OSError: if the store cannot be written.
    """
    import httpx2  # noqa: PLC0415  only here is anything fetched

    try:
        response = httpx2.get(url, timeout=_TIMEOUT_S, follow_redirects=True)
        response.raise_for_status()
        providers: Any = json.loads(response.content)
    except (httpx2.HTTPError, ValueError, RecursionError) as error:
        raise BookError(f"{url}: no price book could be fetched ({error}); the one there is stays") from error
    fetched = f"{datetime.now(UTC):%Y-%m-%d}"
    data = json.dumps({"fetched": fetched, "providers": providers}, separators=(",", ":")).encode()
    book = _parsed(data, url)
    store.storage.publish(BOOK_FILE, lambda file: file.write(data))
    return Updated(book.version, sum(1 for _ in book.models()), store.storage.path(BOOK_FILE))


def _parsed(data: bytes, path: str) -> Book:
    try:
        if len(data) > _MOST_BYTES:
            raise ValueError(f"larger than {_MOST_BYTES >> 20} MiB")  # noqa: TRY301  said in one place
        said = cast("dict[str, Any]", json.loads(data))
        providers: Any = said["providers"]
        if not isinstance(providers, list) or not providers:
            raise TypeError("no list of providers")  # noqa: TRY301
        snapshot = DataSnapshot(_providers_from_raw(providers), from_auto_update=True)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        said_of_it = " ".join(str(error).split())[:200]
        raise BookError(f"{path}: not a price book ({said_of_it}): turnledger prices --update brings one") from error
    return Book(snapshot, f"{book_version().partition(' ')[0]} of {said['fetched']}")

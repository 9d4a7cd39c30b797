"""Importing HAR recordings: streamed entry by entry, through the very same extraction as live traffic.

An entry's span id comes from its own bytes, so that importing a recording again, renamed or grown, adds nothing twice.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from ..instrument.capture import MAX_BODY
from ..instrument.facts import extract
from ..instrument.har_entry import to_exchange
from .har_file import read_entries
from .taking import CallName, ImportReport, Taker, canonical_json
from .unpacking import MAX_VALUES, OVERFULL, OVERLONG, OVERSIZED, UnreadableError, is_overlong

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..exporters.store import Store
    from ..instrument.documents import Registry
    from .unpacking import Progress

NOT_A_CALL: Final = "not a provider call"


def import_har(
    paths: Sequence[Path], store: Store, *, progress: Progress | None = None, registry: Registry | None = None
) -> list[ImportReport]:
    """Import HAR files (plain or gzip) into a store.

    Args:
        paths: the files.
        store: where the calls go.
        progress: told how far the current file is read.
        registry: provider documents; default the shipped ones.

    Returns:
        A report a file; a file that breaks off keeps what was read before, and has ``error`` set.

    Raises:
        OSError: if the store cannot be written.
        KeyFileError: if the store's key file holds something else.
    """
    taker = Taker(store, registry)
    reports = [_import_file(path, taker, progress) for path in paths]
    taker.close()
    return reports


def _import_file(path: Path, taker: Taker, progress: Progress | None) -> ImportReport:
    report = ImportReport(path)
    copies: Counter[str] = Counter()
    try:
        for index, entry in enumerate(read_entries(path, progress)):
            # The same bytes twice in one file are two calls that happened to be alike.
            name = CallName.of(f"{path.name}#{index}", canonical_json(entry), copies)
            if taker.has(name.span_id):
                report.duplicates += 1
                continue
            reason = _import_entry(entry, name, taker)
            if reason is None:
                report.taken += 1
            else:
                report.skip(reason)
    except UnreadableError as error:
        report.error = str(error)
    return report


def _import_entry(entry: dict[str, Any], name: CallName, taker: Taker) -> str | None:
    """Write one entry's row; returns why it was skipped, or None."""
    refused = _too_much(entry)
    if refused is not None:
        return refused
    try:
        exchange = to_exchange(entry)
    except (AttributeError, KeyError, TypeError, ValueError):
        return "malformed entry"
    facts = extract(exchange, taker.registry, taker.key)
    if facts is None:
        host = taker.registry.of_host(urlsplit(exchange.url).netloc)
        return f"another endpoint of {host.id}" if host else NOT_A_CALL
    taker.add(facts, name)
    return None


def _too_much(entry: dict[str, Any]) -> str | None:
    """Return why an entry is not read: a body larger than capture keeps, or overfull, or a head too long."""
    for message, place in (("request", "postData"), ("response", "content")):
        parts = _fields(entry.get(message))
        text = _fields(parts.get(place)).get("text")
        if isinstance(text, str) and len(text) > MAX_BODY:
            return OVERSIZED
        if isinstance(text, str) and text.count(",") > MAX_VALUES:
            return OVERFULL
        listed: Any = parts.get("headers")
        headers = map(_fields, cast("list[Any]", listed) if isinstance(listed, list) else ())
        if is_overlong(parts.get("url"), ((header.get("name"), header.get("value")) for header in headers)):
            return OVERLONG
    return None


def _fields(node: Any) -> dict[str, Any]:
    """Return a JSON object, an empty one in place of anything else."""
    return cast("dict[str, Any]", node) if isinstance(node, dict) else {}

"""Reading exports: a provider's own account of usage and costs, as rows of one day, model and key."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from ...instrument.exports import COUNTS, TEXTS, Export
from ...instrument.paths import find, first, parse
from ..unpacking import UnreadableError, opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ...instrument.documents import Registry

MOST_BYTES: Final = 256 << 20
_MOST_NAME: Final = 200
_MOST_AMOUNT: Final = Decimal(10) ** 15
_MILLIS: Final = 10**11
"""Seconds since 1970 that are larger are thousandths."""


Rate = Callable[[str, date], Decimal | None]
"""What one of a currency is in USD on a day; None if that is not known."""


class ExportError(ValueError):
    """An export cannot be read; the text says which file and row, and what was expected."""


class Row(NamedTuple):
    """What an export says of one day, model and key; None is not said."""

    day: date
    model: str | None
    key: str | None
    counts: Mapping[str, int | None]
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Account:
    """What the exports of one provider say.

    Attributes:
        provider: id of its document.
        kinds: by the kind of export its rows.
        identifier: our name of what their keys are.
        warnings: what one must know of the files.
    """

    provider: str
    kinds: dict[str, list[Row]] = field(default_factory=dict[str, list[Row]])
    identifiers: dict[str, str] = field(default_factory=dict[str, str])
    warnings: list[str] = field(default_factory=list[str])


def read_exports(
    files: Iterable[Path],
    registry: Registry,
    *,
    provider: str | None = None,
    mapping: Mapping[str, str] | None = None,
    rate: Rate,
) -> list[Account]:
    """Return what exports say, by provider.

    Args:
        files: JSON or CSV, plain or gzip; several may be pages of one export. The same page counts once.
        registry: provider documents; a file is told by what their exports require.
        provider: id of the document they belong to; needed with a mapping.
        mapping: by ``day``, ``model``, ``key``, ``calls``, ``cost``, ``currency`` or a count of tokens the column of a
            CSV file that has it, for files that no document knows.
        rate: what one of a currency is in USD.

    Raises:
        ExportError: if a file cannot be read, or no document knows it.
    """
    accounts: dict[str, Account] = {}
    whole: Counter[tuple[str, str]] = Counter()
    seen: set[bytes] = set()
    for path in files:
        data = _data(path)
        if (mark := sha256(data).digest()) in seen:
            continue  # the same page once more
        seen.add(mark)
        content = _content(path, data)
        owner, kind = _told(path, content, registry, provider, mapping)
        account = accounts.setdefault(owner, Account(owner))
        rows = [_row(path, number, item, kind, rate) for number, item in enumerate(_items(content, kind), 1)]
        account.kinds.setdefault(kind.name, []).extend(rows)
        if kind.identifier:
            account.identifiers[kind.name] = kind.identifier
        whole[owner, kind.name] += 0 if kind.more and first(content, kind.more) else 1
    for (owner, name), ends in whole.items():
        if not ends:
            accounts[owner].warnings.append(f"{name}: not all pages are here: the last file says that there are more")
    return list(accounts.values())


def _data(path: Path) -> bytes:
    try:
        with opened(path, "an export") as source:
            data = source.read(MOST_BYTES + 1)
            while len(data) <= MOST_BYTES and (more := source.read(MOST_BYTES + 1 - len(data))):
                data += more
    except UnreadableError as error:
        raise ExportError(f"{path}: {error}") from error
    if len(data) > MOST_BYTES:
        raise ExportError(f"{path}: larger than {MOST_BYTES >> 20} MiB: export fewer days at a time")
    return data


def _content(path: Path, data: bytes) -> Any:
    """Return JSON as it is, CSV as a list of rows by the names of its columns in lower case."""
    if data.lstrip()[:1] in (b"{", b"["):
        try:
            found: Any = json.loads(data, parse_float=Decimal, parse_constant=_refused)
        except (ValueError, RecursionError) as error:
            raise ExportError(f"{path}: not JSON: {error}") from error
        return {"data": cast("Any", found)} if isinstance(found, list) else found
    try:
        text = data.decode("utf-8-sig")
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
        head = [name.strip().lower() for name in next(lines, list[str]())]
        rows = [dict(zip(head, line, strict=True)) for line in lines if any(map(str.strip, line))]
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise ExportError(f"{path}: neither JSON nor CSV in UTF-8 with as many cells in every row: {error}") from error
    if not head or len(set(head)) < len(head):
        raise ExportError(f"{path}: its columns need names, each another")
    return rows


def _refused(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _delimiter(text: str) -> str:
    head = text.partition("\n")[0]
    return max((",", ";", "\t"), key=head.count)


def _told(
    path: Path, content: Any, registry: Registry, provider: str | None, mapping: Mapping[str, str] | None
) -> tuple[str, Export]:
    """Return whose export a file is, and of which kind."""
    if mapping:
        return _mapped(path, content, provider, mapping)
    known = [
        (document.id, kind)
        for document in registry.documents.values()
        for kind in document.exports
        if provider in (None, document.id) and _fits(content, kind)
    ]
    if not known:
        of_it = f" of {provider}" if provider else ""
        raise ExportError(f"{path}: no export{of_it} that is known: name its columns with --field day=... cost=...")
    if len({owner for owner, _ in known}) > 1:
        raise ExportError(f"{path}: could be of {' or '.join(owner for owner, _ in known)}: say --provider")
    return known[0]


def _mapped(path: Path, content: Any, provider: str | None, mapping: Mapping[str, str]) -> tuple[str, Export]:
    unknown = [name for name in mapping if name not in (*TEXTS, *COUNTS)]
    if unknown or "day" not in mapping:
        raise ExportError(f"--field: day=COLUMN is needed, and of {', '.join((*TEXTS, *COUNTS))} whichever there are")
    if provider is None:
        raise ExportError("--field: whose export it is must be said: --provider")
    if not isinstance(content, list):
        raise ExportError(f"{path}: --field is for CSV files")
    there = cast("list[dict[str, str]]", content)
    lacking = [column for column in mapping.values() if there and column.lower() not in there[0]]
    if lacking:
        raise ExportError(f"{path}: no column {lacking[0]!r}; there are: {', '.join(there[0])}"[:500])
    texts = {name: (column.lower(),) for name, column in mapping.items() if name in TEXTS}
    counts = {name: (column.lower(),) for name, column in mapping.items() if name in COUNTS}
    return provider, Export("table", "csv", texts=texts, counts=counts)


def _fits(content: Any, kind: Export) -> bool:
    if kind.form == "csv":
        rows = cast("list[dict[str, str]]", content) if isinstance(content, list) else []
        return bool(rows) and all(column in rows[0] for column in kind.requires)
    return isinstance(content, dict) and all(
        next(find(content, parse(path)), None) is not None for path in kind.requires
    )


def _items(content: Any, kind: Export) -> Iterator[Mapping[str, Any]]:
    if kind.form == "csv":
        yield from content
        return
    yield from _within(content, {}, kind, 0)


def _within(node: Any, outer: Mapping[str, Any], kind: Export, level: int) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a level, each with what the levels around it say; a day with nothing in it is a row, too."""
    for item in find(node, kind.levels[level]):
        if isinstance(item, Mapping):
            row = {**outer, **cast("Mapping[str, Any]", item)}
            inner = iter(()) if level + 1 == len(kind.levels) else _within(item, row, kind, level + 1)
            first_inner = next(inner, None)
            yield row if first_inner is None else first_inner
            yield from inner


def _row(path: Path, number: int, item: Mapping[str, Any], kind: Export, rate: Rate) -> Row:
    place = f"{path}: row {number}"
    try:
        model, key = _name(kind.text(item, "model")), _name(kind.text(item, "key"))
        day = _day(kind.text(item, "day"))
        return Row(
            day=day,
            model=model.partition(kind.model_until)[0] if model and kind.model_until else model,
            key=key,
            counts={name: kind.count(item, name) for name in COUNTS},
            cost_usd=_usd(kind.text(item, "cost"), kind.text(item, "currency"), kind, lambda unit: rate(unit, day)),
        )
    except ValueError as error:
        raise ExportError(f"{place}: {error}") from error


def _name(value: Any) -> str | None:
    return None if value is None else str(value)[:_MOST_NAME]


def _day(value: Any) -> date:
    """Return the UTC day of a moment: seconds or thousandths since 1970, or ISO 8601."""
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        seconds = int(value) if value < _MILLIS else int(value) // 1000
    else:
        text = str(value or "").strip()
        if not text.isdigit() or len(text) == len("20261101"):
            try:
                moment = datetime.fromisoformat(text.removesuffix(" UTC"))
            except ValueError:
                raise ValueError(f"day: a date such as 2026-11-01 was expected, not {text[:40]!r}") from None
            return (moment.astimezone(UTC) if moment.tzinfo else moment).date()
        seconds = int(text[:18])
        seconds = seconds if seconds < _MILLIS else seconds // 1000
    try:
        return datetime.fromtimestamp(seconds, UTC).date()
    except (OverflowError, OSError, ValueError):
        raise ValueError(f"day: {str(value)[:40]!r} is no moment") from None


def _usd(value: Any, currency: Any, kind: Export, rate: Callable[[str], Decimal | None]) -> Decimal | None:
    if value is None:
        return None
    try:
        amount = Decimal(str(value).strip().lstrip("$").replace(",", ""))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not (amount.is_finite() and abs(amount) < _MOST_AMOUNT):
        raise ValueError(f"cost: an amount was expected, not {str(value)[:40]!r}")
    unit = str(currency or "USD").strip().upper()[:20]
    usd = Decimal(1) if unit == "USD" else rate(unit)
    if usd is None:
        raise ValueError(f"cost: in {unit}: say what one is in USD that day, in [[exchange_rate]] of prices.toml")
    return amount * kind.cost_unit_usd * usd

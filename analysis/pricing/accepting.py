"""Taking effective prices over into the user's own: what bills say becomes ``[[price]]`` tables of ``prices.toml``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .effective import DRIFT
from .overrides import PRICES_FILE, VARIABLE, parse_prices, prices_data

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

    from ...exporters.store import Store

_KIND: Final = ("provider", "model", "upstream_provider", "service_tier")


class Accepted(NamedTuple):
    """What was taken over: how many ``[[price]]`` tables, into which file, and how many kinds of call were left out."""

    tables: int
    left: int
    path: str


def drifting(effective: pl.DataFrame) -> pl.DataFrame:
    """Return the rows whose price the list does not have, or has more than 2 % off."""
    return effective.filter(effective["list_usd"].is_null() | (effective["drift"].abs() > DRIFT))


def accept(store: Store, effective: pl.DataFrame) -> Accepted:
    """Write effective prices into the user's prices, each for calls from its first bill on; what stands there stays.

    Only kinds of call with a price that drifts, or that the list lacks, are taken over, whole.

    Args:
        store: whose ``prices.toml`` it is, unless ``TURNLEDGER_PRICES`` names another.
        effective: rows of ``effective_prices``.

    Raises:
        PricesFileError: if the file cannot be used as it is.
        OSError: if it cannot be written.
    """
    path, before = prices_data(store)
    # What holds for any upstream or tier stands before what holds for one: the last that fits counts.
    ordered = effective.sort(*_KIND, "unit", nulls_last=False)
    kinds = [kind for kind in ordered.partition_by(_KIND, maintain_order=True) if drifting(kind).height]
    known = [kind for kind in kinds if _can_be_told(kind)]
    if known:
        text = (before or b"").decode("utf-8").rstrip("\n")
        added = "\n\n".join(_table(kind.to_dicts()) for kind in known)
        data = f"{text}\n\n{added}\n".lstrip("\n").encode()
        parse_prices(path, data)  # what cannot be read again is never written
        _write(store, path, data)
    return Accepted(len(known), len(kinds) - len(known), path)


def _can_be_told(kind: pl.DataFrame) -> bool:
    """Tell whether a kind has all its prices, and names that are no patterns: these would hold for others, too."""
    names = "".join(str(name) for name in kind.select(_KIND).row(0))
    return kind["effective_usd"].null_count() == 0 and "*" not in names


def _table(rows: list[dict[str, Any]]) -> str:
    first = rows[0]
    when = {"upstream": first["upstream_provider"], "service_tier": first["service_tier"]}
    begins = min(row["first_at"] for row in rows if row["first_at"]) if any(row["first_at"] for row in rows) else None
    told = f"bills of {first['calls']} call{'s' if first['calls'] > 1 else ''}" + (
        f", {begins:%Y-%m-%d} to {max(row['last_at'] for row in rows):%Y-%m-%d}" if begins else ""
    )
    lines = [
        "[[price]]",
        f"provider = {_text(first['provider'])}",
        f"models = {_text(first['model'])}",
        *_conditions(when.items()),
        *([f"from = {begins:%Y-%m-%d}"] if begins else []),
        *(f'{row["unit"]} = "{row["effective_usd"].normalize():f}"' for row in rows),
        f"source = {_text(told)}",
    ]
    return "\n".join(lines)


def _conditions(said: Iterable[tuple[str, str | None]]) -> list[str]:
    pairs = [f"{name} = {_text(value)}" for name, value in said if value]
    return [f"when = {{ {', '.join(pairs)} }}"] if pairs else []


def _text(value: str) -> str:
    """Return a TOML string: JSON's escapes are TOML's, but for what stands for itself there and must not here."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write(store: Store, path: str, data: bytes) -> None:
    if not os.environ.get(VARIABLE):
        store.storage.publish(PRICES_FILE, lambda file: file.write(data))
        return
    beside = Path(f"{path}.new")
    beside.write_bytes(data)
    beside.replace(path)

"""Usage of one call, normalised to inclusive buckets, with the provider's own usage object kept beside it.

``input_tokens`` includes cache reads and writes, ``output_tokens`` includes reasoning, as OpenTelemetry defines them.
Which fields add up to what is said by the provider's document; this module knows the arithmetic only.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, cast

from .paths import Expression, Path, find, first

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .exchange import Headers

_MAX_COST_USD: Final = Decimal(10) ** 9
_HEADER_NUMBER: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,30})?(?:[eE]-?[0-9]{1,2})?")  # 18 digits fit in 64 bits
_NO_COUNTS: Final[Mapping[str, int]] = {}


@dataclass(frozen=True, slots=True)
class UsageRules:
    """Where a surface reports usage and what its fields mean (front matter ``[surface.usage]``)."""

    at: tuple[Path, ...] = ()
    beside: Mapping[str, Path] = field(default_factory=dict[str, Path])
    counted: Mapping[str, Path] = field(default_factory=dict[str, Path])
    moments: Mapping[str, Path] = field(default_factory=dict[str, Path])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    merge: str = "update"
    counts: Mapping[str, Expression] = field(default_factory=dict[str, Expression])
    cache_write_by_ttl: Mapping[str, Expression] = field(default_factory=dict[str, Expression])
    details: Mapping[str, Expression] = field(default_factory=dict[str, Expression])
    reasoning_beside_output_if_total: Path | None = None
    billed_cost: Path | None = None
    paid_beside: Path | None = None
    paid_beside_if: Path | None = None
    billed_cost_unit_usd: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage of one call; None is unknown. ``details`` are other counted units by name."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_by_ttl: Mapping[str, int] = field(default_factory=lambda: _NO_COUNTS)
    details: Mapping[str, int] = field(default_factory=lambda: _NO_COUNTS)
    billed_cost_usd: Decimal | None = None
    problems: tuple[str, ...] = ()
    raw: Mapping[str, Any] | None = None


def read_usage(documents: Sequence[Any], rules: UsageRules, headers: Headers = ()) -> Usage:
    """Return the usage that the documents of one response report, and its headers where the surface counts there.

    Stream figures are cumulative, so events are merged (later figures replace earlier ones); they are summed only where
    the document says that each is a call of its own.
    """
    counted = _counted_in_headers(headers, rules)
    raw = {**counted, **(_merged(documents, rules) or {}), **_beside(documents, rules)}
    raw |= _counted(documents, rules) | _moments(documents, rules)
    if not raw:
        return Usage()
    counts = {name: expression.count(raw) for name, expression in rules.counts.items()}
    input_tokens, output_tokens = counts.get("input_tokens"), counts.get("output_tokens")
    reasoning = counts.get("reasoning_tokens")
    total_path = rules.reasoning_beside_output_if_total
    if (
        total_path is not None
        and reasoning
        and input_tokens is not None
        and output_tokens is not None
        and first(raw, total_path) == input_tokens + output_tokens + reasoning
    ):
        output_tokens += reasoning
    usage = Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=counts.get("cache_read_tokens"),
        cache_write_tokens=counts.get("cache_write_tokens"),
        reasoning_tokens=reasoning,
        cache_write_by_ttl=_counts(raw, rules.cache_write_by_ttl),
        details=_counts(raw, rules.details),
        billed_cost_usd=_billed(raw, rules),
        raw=raw,
    )
    return _with_problems(usage)


def _counted_in_headers(headers: Headers, rules: UsageRules) -> dict[str, Any]:
    if not rules.headers:
        return {}
    texts = {name: value.strip() for name, value in headers}
    found = {key: texts.get(header, "") for key, header in rules.headers.items()}
    # An amount of money stays a text: it is exact as it was written.
    return {key: int(text) if text.isdigit() else text for key, text in found.items() if _HEADER_NUMBER.fullmatch(text)}


def _merged(documents: Sequence[Any], rules: UsageRules) -> dict[str, Any] | None:
    merged: dict[str, Any] | None = None
    for document in documents:
        for path in rules.at:
            for found in find(document, path):
                if not isinstance(found, dict) or not found:
                    continue
                usage = cast("dict[str, Any]", found)
                usage = usage if path else _figures(usage)
                if merged is None or (usage and rules.merge == "last"):
                    merged = dict(usage) or None
                elif rules.merge == "sum":
                    merged |= {key: _added(merged.get(key), value) for key, value in usage.items()}
                else:
                    merged |= {key: value for key, value in usage.items() if _replaces(value, merged.get(key), rules)}
    return merged


def _beside(documents: Sequence[Any], rules: UsageRules) -> dict[str, Any]:
    """Return the usage objects that stand apart, as the last document that has any lists them: events repeat items."""
    found: dict[str, Any] = {}
    for name, path in rules.beside.items():
        for document in reversed(documents):
            listed: list[Any] = [item for item in find(document, path) if isinstance(item, dict)]
            if listed:
                found[name] = listed
                break
    return found


def _moments(documents: Sequence[Any], rules: UsageRules) -> dict[str, int]:
    """Return the moments from and until which something was kept, in whole seconds since 1970."""
    found: dict[str, int] = {}
    for name, path in rules.moments.items():
        for text in (value for document in documents for value in find(document, path) if isinstance(value, str)):
            with contextlib.suppress(ValueError, OverflowError):
                moment = datetime.fromisoformat(text)
                found[name] = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    return found


def _counted(documents: Sequence[Any], rules: UsageRules) -> dict[str, int]:
    """Return how many of the things there are that are counted by their number, as the last document lists them."""
    found: dict[str, int] = {}
    for name, path in rules.counted.items():
        # What is empty (a search for nothing) is none.
        numbers = (sum(value not in (None, "") for value in find(document, path)) for document in reversed(documents))
        if number := next(filter(None, numbers), 0):
            found[name] = number
    return found


def _figures(document: dict[str, Any]) -> dict[str, Any]:
    """Return what a document that is its own usage object counts: its numbers, not the answer around them."""
    return {key: value for key, value in document.items() if _is_figure(value)}


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _added(known: Any, value: Any) -> Any:
    """Return the sum of two figures, of two objects by key; what is no figure is replaced."""
    if isinstance(known, dict) and isinstance(value, dict):
        figures = cast("dict[str, Any]", known)
        return figures | {key: _added(figures.get(key), item) for key, item in cast("dict[str, Any]", value).items()}
    return known + value if _is_figure(known) and _is_figure(value) else value


def _replaces(value: Any, known: Any, rules: UsageRules) -> bool:
    """Tell whether a later figure takes an earlier one's place."""
    if rules.merge == "max" and _is_figure(value) and _is_figure(known):
        return value > known
    return value is not None


def _counts(raw: Mapping[str, Any], expressions: Mapping[str, Expression]) -> dict[str, int]:
    found = {name: expression.count(dict(raw)) for name, expression in expressions.items()}
    return {name: count for name, count in found.items() if count is not None}


def _billed(raw: Mapping[str, Any], rules: UsageRules) -> Decimal | None:
    """Return what the call cost: the provider's bill, and what was paid beside it where that is the case."""
    amount = _amount(raw, rules.billed_cost, rules)
    if amount is None or not rules.paid_beside_if or first(raw, rules.paid_beside_if) is not True:
        return amount
    beside = _amount(raw, rules.paid_beside, rules)
    return None if beside is None else amount + beside


def _amount(raw: Mapping[str, Any], path: Path | None, rules: UsageRules) -> Decimal | None:
    value = first(raw, path) if path else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        # repr of a float is its shortest exact decimal: what the provider wrote on the wire.
        amount = Decimal(str(value)) * rules.billed_cost_unit_usd
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount < _MAX_COST_USD else None


def _with_problems(usage: Usage) -> Usage:
    cached = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
    by_ttl = sum(usage.cache_write_by_ttl.values())
    checks = (
        ("cache reads and writes", cached, "input_tokens", usage.input_tokens),
        ("reasoning_tokens", usage.reasoning_tokens or 0, "output_tokens", usage.output_tokens),
        ("cache writes by TTL", by_ttl, "cache_write_tokens", usage.cache_write_tokens),
    )
    problems = tuple(
        f"{part} ({part_count}) exceed {whole} ({whole_count})"
        for part, part_count, whole, whole_count in checks
        if whole_count is not None and part_count > whole_count
    )
    if not problems:
        return usage
    return replace(usage, problems=problems)

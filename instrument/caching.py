"""What a prompt cache makes of a conversation's cost, by ``[surface.caching]`` of a document and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from .history_shape import Growth, HistoryShape

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TTL: Final = re.compile(r"(\d+)([smhd])")


@dataclass(frozen=True, slots=True)
class CacheTerms:
    """How a surface caches the prompts of a conversation.

    Attributes:
        use: ``explicit``, ``implicit``, or None where the cache gives nothing.
        is_implicit: whether it works without being asked for.
        read, write: prices of tokens read from the cache and written to it, of the input price; None is unknown.
        least: the fewest tokens that are cached.
        ttl: the lifetime that is kept to, or to be asked for.
        sentences: what the document says, and what follows from it.
    """

    use: str | None = None
    is_implicit: bool = False
    read: Decimal | None = None
    write: Decimal | None = None
    least: int | None = None
    ttl: str | None = None
    sentences: tuple[str, ...] = ()

    def relative_cost(self, growth: Growth) -> Decimal | None:
        """Return what a conversation's input costs at best, of what it costs without a cache; None is unknown."""
        if self.use is None:
            return Decimal(1)
        if self.read is None or self.write is None:
            return None
        return growth.cached(self.read, self.write, self.least)


def cache_terms(
    caching: Mapping[str, Any], model: str | None, history: HistoryShape, *, can_choose: bool
) -> CacheTerms:
    """Return what a surface's cache gives a conversation.

    Args:
        caching: the document's table, empty where it says nothing.
        model: the model asked, where rules differ by model.
        history: what is known of the conversation.
        can_choose: whether a request can ask for a lifetime.
    """
    kind = str(caching.get("kind", ""))
    if not kind:
        return CacheTerms()
    is_implicit = "explicit" not in kind.partition(" ")[0] and "implicit" in kind
    least = cast("int | None", _by_model(caching, "minimum_tokens", model))
    ttl, outlasted = _lifetime(caching, model, history.gap_s, can_choose=can_choose)
    write = _write_price(caching, model, ttl, is_implicit=is_implicit)
    said = [f"Prompts are cached ({kind})."]
    if least is not None:
        said.append(f"A prefix of fewer than {least} tokens is not cached.")
    if least is not None and history.input_tokens is not None and history.input_tokens < least:
        said.append(f"The longest request has {history.input_tokens}: the cache gives nothing here.")
        return CacheTerms(None, is_implicit, None, write, least, None, tuple(said))
    if outlasted:
        said += _too_late(caching, ttl, history, write)
        return CacheTerms(None, is_implicit, None, write, least, None, tuple(said))
    read = _price(_by_model(caching, "read_multiplier", model))
    said += [*_prices(read, write), *_kept(caching, ttl, history)]
    said += [str(caching["notes"])] if "notes" in caching else []
    return CacheTerms("implicit" if is_implicit else "explicit", is_implicit, read, write, least, ttl, tuple(said))


def _prices(read: Decimal | None, write: Decimal | None) -> list[str]:
    written = f", what is written {write}" if write is not None and write != 1 else ""
    if read is None:
        return ["The document has no price for what is read from it, so no saving is claimed."]
    return [f"What is read from the cache costs {read} of the input price{written}."]


def _kept(caching: Mapping[str, Any], ttl: str | None, history: HistoryShape) -> list[str]:
    if ttl is None:
        return []
    said = [f"It is kept for {ttl}" + (", anew from every read." if caching.get("refreshed_by_read") else ".")]
    if history.longest_gap_s is not None and history.longest_gap_s > _seconds(ttl):
        said.append(f"After the longest gap ({_spoken(history.longest_gap_s)}) it is gone, and written again.")
    return said


def _too_late(caching: Mapping[str, Any], ttl: str | None, history: HistoryShape, write: Decimal | None) -> list[str]:
    """Say why a cache gives nothing to a conversation whose requests are too far apart, and what it would cost."""
    apart = f"{'up to ' if history.median_gap_s is None else ''}{_spoken(history.gap_s or 0)} apart"
    said = [f"It is kept for {ttl}, and requests here are {apart}: it is gone by then."]
    if write is not None and write > 1:
        said.append(f"What is written and not read costs {write} of the input price: caching would cost more.")
    longer = [name for name in _ttls(caching) if _seconds(name) >= (history.gap_s or 0)]
    if longer:
        said.append(f"Of a longer lifetime ({', '.join(longer)}) the document has no price.")
    return said


def _lifetime(
    caching: Mapping[str, Any], model: str | None, gap_s: float | None, *, can_choose: bool
) -> tuple[str | None, bool]:
    """Return the lifetime to count on, and whether the gap outlasts it.

    It is the usual one, or the shortest that outlasts the gap, if a request can ask for it and its price is known.
    """
    usual = _by_model(caching, "default_ttl", model)
    if not isinstance(usual, str) or not _TTL.fullmatch(usual):
        return None, False
    if gap_s is None or gap_s <= _seconds(usual):
        return usual, False
    priced = cast("Mapping[str, str]", caching.get("write_multiplier_by_ttl") or {}) if can_choose else {}
    longer = sorted((name for name in _ttls(caching) if name in priced), key=_seconds)
    fitting = next((name for name in longer if _seconds(name) >= gap_s), None)
    return (fitting, False) if fitting else (longer[-1] if longer else usual, True)


def _ttls(caching: Mapping[str, Any]) -> list[str]:
    return [name for name in cast("list[str]", caching.get("ttls") or []) if _TTL.fullmatch(name)]


def _seconds(ttl: str) -> int:
    found = _TTL.fullmatch(ttl)
    return int(found[1]) * _UNITS[found[2]] if found else 0


def _write_price(
    caching: Mapping[str, Any], model: str | None, ttl: str | None, *, is_implicit: bool
) -> Decimal | None:
    by_ttl = cast("Mapping[str, str]", caching.get("write_multiplier_by_ttl") or {})
    price = _price(by_ttl.get(ttl or "") or _by_model(caching, "write_multiplier", model))
    # Where nobody asks for a cache and no price of writes is named, there is none.
    return Decimal(1) if price is None and is_implicit else price


def _by_model(caching: Mapping[str, Any], name: str, model: str | None) -> Any:
    """Return a fact for the model whose name begins with the longest key that fits, else the one for all."""
    by_model = caching.get(f"{name}_by_model")
    if isinstance(by_model, Mapping) and model is not None:
        table = cast("Mapping[str, Any]", by_model)
        fitting = [key for key in table if model.startswith(key)]
        if fitting:
            return table[max(fitting, key=len)]
    return caching.get(name)


def _price(text: Any) -> Decimal | None:
    try:
        return None if text is None else Decimal(str(text))
    except InvalidOperation:
        return None


def _spoken(seconds: float) -> str:
    for unit in ("d", "h", "m"):
        if seconds >= _UNITS[unit]:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds:.0f}s"

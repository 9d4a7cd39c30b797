"""What a prompt cache makes of a conversation's cost, by ``[surface.caching]`` of a document and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, cast

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TTL: Final = re.compile(r"(\d+)([smhd])")
_HALF: Final = Decimal("0.5")


@dataclass(frozen=True, slots=True)
class CacheTerms:
    """How a surface caches the prompts of a conversation.

    Attributes:
        use: ``explicit``, ``implicit``, or None where the cache gives nothing.
        is_implicit: whether that happens without being asked for.
        read, write: prices of tokens read from the cache and written to it, of the input price; None is unknown.
        ttl: the lifetime to ask for.
        sentences: what the document says, and what follows from it.
    """

    use: str | None
    is_implicit: bool
    read: Decimal | None
    write: Decimal | None
    ttl: str | None
    sentences: tuple[str, ...]

    def relative_cost(self, turns: int) -> Decimal | None:
        """Return what a conversation's input costs beside the same without a cache; turns are taken to be equally long.

        Turn ``k`` reads ``k - 1`` turns and writes one.
        """
        if self.use is None:
            return Decimal(1)
        if self.read is None or self.write is None:
            return None
        return (self.read * (turns - 1) + 2 * self.write) / (turns + 1)


def cache_terms(
    caching: Mapping[str, Any], model: str | None, input_tokens: int | None, longest_gap_s: float | None
) -> CacheTerms:
    """Return what a surface's cache gives a conversation.

    Args:
        caching: the document's table, empty where it says nothing.
        model: the model asked, where rules differ by model.
        input_tokens: tokens of the longest request; None is unknown.
        longest_gap_s: the longest time between two calls, in seconds; None is unknown.
    """
    kind = str(caching.get("kind", ""))
    if not kind:
        return CacheTerms(None, False, None, None, None, ())
    is_implicit = "explicit" not in kind.partition(" ")[0] and "implicit" in kind
    least = _by_model(caching, "minimum_tokens", model)
    read = _price(_by_model(caching, "read_multiplier", model))
    said = [f"Prompts are cached ({kind})."]
    if least is not None:
        said.append(f"A prefix of fewer than {least} tokens is not cached.")
    if least is not None and input_tokens is not None and input_tokens < int(least):
        said.append(f"The longest request has {input_tokens}: the cache gives nothing here.")
        return CacheTerms(None, is_implicit, read, None, None, tuple(said))
    ttl, lasts_s = _lifetime(caching, longest_gap_s)
    if lasts_s is not None and longest_gap_s is not None and longest_gap_s > lasts_s:
        said.append(
            f"It is kept for {ttl}, and calls here are up to {_spoken(longest_gap_s)} apart: it is gone by then."
        )
        return CacheTerms(None, is_implicit, read, None, None, tuple(said))
    write = Decimal(1) if is_implicit and "write_multiplier" not in caching else _write_price(caching, model, ttl)
    if read is not None:
        said.append(f"What is read from the cache costs {read} of the input price" + _written(write) + ".")
    if ttl is not None:
        said.append(f"It is kept for {ttl}" + (", anew from every read." if caching.get("refreshed_by_read") else "."))
    return CacheTerms("implicit" if is_implicit else "explicit", is_implicit, read, write, ttl, tuple(said))


def multipliers(caching: Mapping[str, Any], model: str) -> dict[str, Decimal]:
    """Return, by price key, what reads and writes of the cache cost beside the input price, as far as it is said."""
    by_ttl = cast("Mapping[str, str]", caching.get("write_multiplier_by_ttl") or {})
    said = {
        "cache_read_mtok": _by_model(caching, "read_multiplier", model),
        "cache_write_mtok": _by_model(caching, "write_multiplier", model),
        **{f"cache_write_{ttl}_mtok": text for ttl, text in by_ttl.items()},
    }
    return {unit: price for unit, text in said.items() if (price := _price(text)) is not None}


def _written(write: Decimal | None) -> str:
    return f", what is written {write}" if write is not None and write != 1 else ""


def _lifetime(caching: Mapping[str, Any], longest_gap_s: float | None) -> tuple[str | None, int | None]:
    """Return the shortest lifetime that outlasts the longest gap, else the longest; None where none is known."""
    default = caching.get("default_ttl")
    names = [name for name in cast("list[str]", caching.get("ttls") or []) if _TTL.fullmatch(name)]
    if isinstance(default, str) and _TTL.fullmatch(default) and default not in names:
        names.append(default)
    known = sorted((_seconds(name), name) for name in names)
    if not known:
        return None, None
    if longest_gap_s is None:
        usual = default if isinstance(default, str) and default in names else known[0][1]
        return usual, _seconds(usual)
    seconds, name = next((item for item in known if item[0] >= longest_gap_s), known[-1])
    return name, seconds


def _seconds(ttl: str) -> int:
    found = _TTL.fullmatch(ttl)
    return int(found[1]) * _UNITS[found[2]] if found else 0


def _write_price(caching: Mapping[str, Any], model: str | None, ttl: str | None) -> Decimal | None:
    by_ttl = cast("Mapping[str, str]", caching.get("write_multiplier_by_ttl") or {})
    return _price(by_ttl.get(ttl or "") or _by_model(caching, "write_multiplier", model))


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

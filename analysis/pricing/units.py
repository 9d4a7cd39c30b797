"""The vocabulary of what is billed: price keys, as the price book and ``[[price]]`` write them, and what they count."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from genai_prices.data_units import unit_data

SCALE: Final = Decimal("1e-18")
"""Prices are kept to 18 decimals: finer digits in the book are residue of its float arithmetic."""

_BOOK: Final[dict[str, int]] = {unit["price_key"]: unit["per"] for unit in unit_data.values()}
_ENDINGS: Final[dict[str, int]] = {
    "_mtok_hours": 3_600_000_000,
    "_mtok": 1_000_000,
    "_mchars": 1_000_000,
    "_gpixels": 1_000_000_000,
    "_kcount": 1_000,
    "_kpages": 1_000,
    "_hours": 3_600,
    "_count": 1,
}
_COUNTED: Final[dict[str, str]] = {
    "web_searches_kcount": "web_search_requests",
    "social_searches_kcount": "x_search_requests",
    "storage_searches_kcount": "file_search_calls",
    "code_executions_kcount": "code_interpreter_calls",
    "rerank_searches_kcount": "search_units",
    "input_document_kpages": "pages",
    "input_annotated_document_kpages": "annotated_pages",
    "input_mchars": "input_characters",
    "input_gpixels": "image_pixels",
    "cache_audio_read_mtok": "cache_read_audio_tokens",
    "cache_image_read_mtok": "cache_read_image_tokens",
}
"""Where the book's price key is not our name of the count with another ending."""
_COUNTED_BY_ENDING: Final[dict[str, str]] = {
    "_mtok_hours": "_token_seconds",
    "_mtok": "_tokens",
    "_hours": "_seconds",
    "_mchars": "_characters",
}


def per(unit: str) -> int:
    """Return for how many of what it counts a price of this unit is: a million tokens, a thousand requests, an hour.

    Raises:
        KeyError: if it is no unit.
    """
    if unit in _BOOK:
        return _BOOK[unit]
    return next(size for ending, size in _ENDINGS.items() if unit.endswith(ending))


def per_single(unit: str, price: Decimal) -> Decimal:
    """Return the price of one token, request or second."""
    return (price / per(unit)).quantize(SCALE)


def counted(unit: str) -> str:
    """Return our name of what a unit counts: ``input_audio_mtok`` prices ``input_audio_tokens``."""
    if unit in _COUNTED:
        return _COUNTED[unit]
    ending = next(ending for ending in _ENDINGS if unit.endswith(ending))
    return unit.removesuffix(ending) + _COUNTED_BY_ENDING.get(ending, "")


def is_tokens(unit: str) -> bool:
    """Tell whether a price is one of tokens: factors (tiers, regions, discounts) are of these."""
    return unit.endswith("_mtok")

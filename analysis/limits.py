"""Limits that costs are held against: an amount such as ``50usd``, or a share such as ``10%``."""

from __future__ import annotations

import re
from decimal import Decimal, localcontext
from typing import Final

EXCEEDED: Final = 3
"""Exit code of a command that was given a limit which has been exceeded."""

_NUMBER: Final = r"(?:\d{1,15}(?:\.\d{1,18})?|\.\d{1,18})"
_AMOUNT: Final = re.compile(rf"(?P<sign>\$)?\s*(?P<number>{_NUMBER})\s*(?P<unit>usd)?", re.IGNORECASE | re.ASCII)
_PERCENT: Final = re.compile(rf"(?P<number>{_NUMBER})\s*%", re.ASCII)
_ENOUGH_DIGITS: Final = 100


def amount_usd(text: str) -> Decimal:
    """Return the USD of an amount such as ``50usd``, ``$50``, ``0.5 USD`` or ``50``.

    Raises:
        ValueError: if it is none.
    """
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or (found["sign"] and found["unit"]):
        raise ValueError(f"{text!r} is no amount in USD such as 50usd, $50 or 0.5")
    return Decimal(found["number"])


def percent(text: str) -> Decimal:
    """Return the number of a share such as ``10%``: 10.

    Raises:
        ValueError: if it is none.
    """
    found = _PERCENT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no share such as 10% or 2.5%")
    return Decimal(found["number"])


def is_risen(before: Decimal, after: Decimal, by_percent: Decimal) -> bool:
    """Tell whether an amount has risen by more than so many percent of what it was; from nothing, any rise is more."""
    with localcontext(prec=_ENOUGH_DIGITS):
        return (after - before) * 100 > before * by_percent

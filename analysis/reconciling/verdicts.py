"""What two accounts of the same days, model and key say together, and the likely cause where they differ. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MATCHED: Final = "matched"
MISSING_HERE: Final = "missing here"
MISSING_THERE: Final = "missing there"
DIFFERENT_USAGE: Final = "different usage"
DIFFERENT_PRICE: Final = "different price"

_BUCKETS: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


@dataclass(frozen=True, slots=True)
class Sums:
    """One side: counts and cost, None where it does not say; here also how many calls have no cost."""

    counts: Mapping[str, int | None] = field(default_factory=dict[str, "int | None"])
    cost_usd: Decimal | None = None
    unpriced_calls: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether it says of nothing that there was any."""
        return not self.cost_usd and not any(self.counts.values())

    def count(self, name: str) -> int | None:
        """Return a count, None where it is not said."""
        return self.counts.get(name)


def verdict(ours: Sums, theirs: Sums, within: Decimal) -> tuple[str, str | None]:
    """Return what became of a row, and the likely cause where it does not match.

    Args:
        ours: what was recorded.
        theirs: what the provider says.
        within: the share by which costs and counts may differ.
    """
    if ours.is_empty and not theirs.is_empty:
        return MISSING_HERE, "none of these calls was recorded: other applications, or capture that was not switched on"
    if theirs.is_empty and not ours.is_empty:
        return MISSING_THERE, "not in the export: another account or project, or calls that were not billed"
    off = [name for name in _BUCKETS if _differs(ours.count(name), theirs.count(name), within)]
    costs_differ = _differs(ours.cost_usd or Decimal(), theirs.cost_usd, within)
    if off or (_differs(ours.count("calls"), theirs.count("calls"), within) and not _says_tokens(theirs)):
        return DIFFERENT_USAGE, _cause_of_usage(ours, theirs, off)
    if costs_differ:
        return DIFFERENT_PRICE, _cause_of_price(ours, theirs)
    return MATCHED, None


def _says_tokens(side: Sums) -> bool:
    return any(side.count(name) is not None for name in _BUCKETS)


def _differs(here: Decimal | int | None, there: Decimal | int | None, within: Decimal) -> bool:
    return there is not None and abs(Decimal(here or 0) - there) > within * abs(Decimal(there))


def _cause_of_usage(ours: Sums, theirs: Sums, off: list[str]) -> str:
    calls_here, calls_there = ours.count("calls"), theirs.count("calls")
    if calls_here is not None and calls_there is not None and calls_here != calls_there:
        more = calls_there - calls_here
        if more > 0:
            return f"{more} calls were not recorded here"
        return f"{-more} calls more here: billed elsewhere, or not at all"
    less = [name for name in off if (ours.count(name) or 0) < (theirs.count(name) or 0)]
    side = "fewer here" if len(less) == len(off) else "more here" if not less else "not the same"
    return f"{', '.join(name.replace('_', ' ') for name in off)}: {side}"


def _cause_of_price(ours: Sums, theirs: Sums) -> str:
    here, there = ours.cost_usd or Decimal(), theirs.cost_usd or Decimal()
    if ours.unpriced_calls and here < there:
        return f"{ours.unpriced_calls} calls have no cost here (unpriced_calls)"
    if not here:
        return "what is billed has no cost here"
    tokens = " for the same tokens" if _says_tokens(theirs) else ""
    return f"billed at {there / here:.4f} of the cost here{tokens}: a contract price, credits, or a price since changed"

"""Why a cost changed: the change, cut into parts that add up to it exactly. Pure arithmetic.

What is compared is the same work on two sides, done by one or more models. The change is cut in this order:

- volume: more or fewer calls, at what a call cost before;
- models: the calls shared out differently among models, each at what its call cost before (a new one: costs now);
- tokens: more or fewer tokens a call, input and output each at what its token cost before;
- price: the rest, which is what a token costs now: prices, tiers, and how much of the input a cache served.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_DIGITS: Final = 120
"""Twenty of a sum, eighteen after the point, twenty of each count it is multiplied by, and as many again to spare."""
_STEP: Final = Decimal("1e-18")
_NOTHING: Final = Decimal(0)


class Spent(NamedTuple):
    """What the calls of one model came to on one side: those that are billed, with a known cost.

    Attributes:
        calls: how many they are.
        usd: their cost.
        input_tokens: what they sent; None is unknown.
        output_tokens: what was answered; None is unknown.
        input_usd: of their cost what was computed for the input, as far as it was computed.
        output_usd: likewise for the output. The cost is shared out in this proportion; where neither is known, as with
            bills, tokens of both are one kind.
    """

    calls: int
    usd: Decimal
    input_tokens: int | None
    output_tokens: int | None
    input_usd: Decimal
    output_usd: Decimal


class Parts(NamedTuple):
    """A change of cost in USD, in parts that add up to it."""

    volume: Decimal = _NOTHING
    models: Decimal = _NOTHING
    tokens: Decimal = _NOTHING
    price: Decimal = _NOTHING


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """Return the sum of amounts, every digit of it."""
    with localcontext(prec=_DIGITS):
        return sum(amounts, _NOTHING)


def change_of(before: Decimal | None, after: Decimal | None) -> Decimal:
    """Return by how much what is known of an amount has changed, every digit of it."""
    with localcontext(prec=_DIGITS):
        return (after or _NOTHING) - (before or _NOTHING)


def per(amount: Decimal | None, count: int) -> Decimal | None:
    """Return an amount per one of so many, to 1e-18; None where there is neither."""
    with localcontext(prec=_DIGITS):
        return None if amount is None or not count else (amount / count).quantize(_STEP)


def share_of(change: Decimal | float, before: Decimal | float | None) -> float | None:
    """Return a change as a share of what there was before; None where there was nothing."""
    return float(change) / float(before) if before else None


def split(before: Mapping[str | None, Spent], after: Mapping[str | None, Spent]) -> Parts:
    """Cut the change of a cost into its parts.

    Args:
        before: what each model's calls came to; a model is left out where none of its calls has a cost.
        after: the same of the other side.

    Returns:
        Parts that add up to the change exactly: what is rounded, to 1e-18 USD, is in the largest of them.
    """
    with localcontext(prec=_DIGITS):
        calls_before = sum(one.calls for one in before.values())
        calls_after = sum(one.calls for one in after.values())
        usd_before, usd_after = (exact_sum(one.usd for one in side.values()) for side in (before, after))
        change = usd_after - usd_before
        if not calls_before or not calls_after:
            return Parts(volume=change)
        volume = (calls_after - calls_before) * usd_before / calls_before
        tokens = sum((_token_part(before[model], after[model]) for model in before.keys() & after.keys()), _NOTHING)
        valued = sum((_at_former_cost(before.get(model), one) for model, one in after.items()), _NOTHING)
        models = valued - calls_after * usd_before / calls_before
        parts = [part.quantize(_STEP) for part in (volume, models, tokens, usd_after - valued - tokens)]
        largest = max(range(len(parts)), key=lambda index: abs(parts[index]))
        parts[largest] += change - sum(parts)
        return Parts(*parts)


def _at_former_cost(before: Spent | None, after: Spent) -> Decimal:
    """Return what a model's calls would have cost at what one cost before."""
    return after.usd if before is None else after.calls * before.usd / before.calls


def _token_part(before: Spent, after: Spent) -> Decimal:
    """Return what more or fewer tokens a call would have cost at what a token cost before."""
    total = _NOTHING
    for old, usd, new in _buckets(before, after):
        if old and new is not None:
            total += (new - Decimal(after.calls) * old / before.calls) * usd / old
    return total


def _buckets(before: Spent, after: Spent) -> list[tuple[int | None, Decimal, int | None]]:
    """Return each kind of tokens: how many there were, what they cost, how many there are."""
    known = before.input_usd + before.output_usd
    if not known:
        return [
            (
                _both(before.input_tokens, before.output_tokens),
                before.usd,
                _both(after.input_tokens, after.output_tokens),
            )
        ]
    return [
        (before.input_tokens, before.usd * before.input_usd / known, after.input_tokens),
        (before.output_tokens, before.usd * before.output_usd / known, after.output_tokens),
    ]


def _both(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second

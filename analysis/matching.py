"""The groups of two sides, matched by their keys: what each cost on either side, and why that changed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .splitting import Parts, Spent, change_of, exact_sum, split

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal


@dataclass(slots=True)
class _Half:
    """A group on one side."""

    calls: int = 0
    unpriced_calls: int = 0
    is_known: bool = False
    models: dict[str | None, Spent] = field(default_factory=dict[str | None, Spent])

    def add(self, row: Mapping[str, Any]) -> None:
        self.calls += row["calls"]
        self.unpriced_calls += row["unpriced_calls"]
        self.is_known |= row["cost_usd"] is not None
        if row["paid_calls"]:
            self.models[row["model"]] = Spent(
                row["paid_calls"],
                row["cost_usd"],
                row["input_tokens"],
                row["output_tokens"],
                row["input_usd"],
                row["output_usd"],
            )

    @property
    def cost_usd(self) -> Decimal | None:
        """What is known of its cost; None where nothing is."""
        return exact_sum(one.usd for one in self.models.values()) if self.is_known else None


def match(
    before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]], keys: int
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return each group that either side has, as its keys and its figures; the largest change first.

    Args:
        before: a row for each group and model of the first side: ``key_0`` ..., ``model``, ``calls``, ``cost_usd``,
            ``unpriced_calls``, ``paid_calls`` (those that cost something), and of these the fields of ``Spent``.
        after: the same of the second side.
        keys: how many keys a group has.

    Returns:
        Figures named as the columns of ``Comparison.groups``. Over all groups the parts (``volume_usd`` to
        ``unpriced_usd``) add up exactly to the change of what is known of both sides' costs.
    """
    groups: defaultdict[tuple[Any, ...], tuple[_Half, _Half]] = defaultdict(lambda: (_Half(), _Half()))
    for side, rows in enumerate((before, after)):
        for row in rows:
            groups[tuple(row[f"key_{index}"] for index in range(keys))][side].add(row)
    found = [(key, _figures(*halves)) for key, halves in groups.items()]
    return sorted(found, key=lambda group: (-abs(_known_change(group[1])), *map(str, group[0])))


def _known_change(figures: Mapping[str, Any]) -> Decimal:
    return exact_sum(amount for name in ("change_usd", "unpriced_usd") if (amount := figures[name]) is not None)


def _figures(a: _Half, b: _Half) -> dict[str, Any]:
    cost_a, cost_b = a.cost_usd, b.cost_usd
    known = change_of(cost_a, cost_b)
    status = "new" if not a.calls else "gone" if not b.calls else "both"
    # of a side none of whose calls has a cost, though some should have one, nothing can be said
    one_sided = any(half.calls and half.unpriced_calls and not half.models for half in (a, b))
    is_split = status == "both" and not one_sided
    parts = split(a.models, b.models) if is_split else Parts()
    return {
        "status": status,
        "calls_a": a.calls,
        "calls_b": b.calls,
        "cost_a_usd": cost_a,
        "cost_b_usd": cost_b,
        "change_usd": None if one_sided else known,
        "volume_usd": parts.volume if is_split else None,
        "models_usd": parts.models if is_split else None,
        "tokens_usd": parts.tokens if is_split else None,
        "price_usd": parts.price if is_split else None,
        "new_usd": known if status == "new" and not one_sided else None,
        "gone_usd": known if status == "gone" and not one_sided else None,
        "unpriced_usd": known if one_sided and status == "both" else None,
        "unpriced_calls_a": a.unpriced_calls,
        "unpriced_calls_b": b.unpriced_calls,
    }

"""A side of a comparison, as people write it: ``./ledger,2026-11-01..2026-11-08,release=v2``.

Parts stand between commas, each at most once: a store, a period, and what calls must have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .grouping import COST_KEYS, key_sql
from .options import age, moment, moment_ago

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMA: Final = re.compile(r"(?<!\\),")
_STORE: Final = re.compile(r"(/|~|\.$|\.\.$|\./|\.\./|\.\\|\.\.\\|[a-z0-9]+://).*", re.IGNORECASE | re.DOTALL)
_MONTH: Final = re.compile(r"(\d{4})-(\d{2})", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_FORMS: Final = (
    "a period (2026-11-01..2026-11-08, 2026-11-01, 2026-11, 7d, 14d..7d), a name with its value (release=v2, model=...)"
    " or a store (./folder)"
)


@dataclass(frozen=True, slots=True)
class Side:
    """Which calls a side holds.

    Attributes:
        said: how it was written.
        store: the store's folder or address; None is the one that holds for both sides.
        since: the first moment of its period; None is open.
        until: the first moment after it; None is open.
        chosen: keys, as costs are grouped by, and the value each has in all its calls; an empty one is none.
    """

    said: str
    store: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    chosen: tuple[tuple[str, str], ...] = ()

    @property
    def has_period(self) -> bool:
        """Whether calls of unknown time are left out."""
        return self.since is not None or self.until is not None

    def condition(self) -> tuple[str, list[object]]:
        """Return the SQL that is true of its calls in ``call_costs``, and the values of its ``?``."""
        said: list[tuple[str, object]] = [("started_at >= ?", self.since)] if self.since else []
        said += [("started_at < ?", self.until)] if self.until else []
        said += [(f"coalesce(({key_sql(key)})::varchar, '') = ?", value) for key, value in self.chosen]
        return " and ".join(condition for condition, _ in said) or "true", [value for _, value in said]


def parse_side(text: str, now: datetime | None = None) -> Side:
    r"""Return the side that a text names.

    Args:
        text: its parts, with commas; a comma in a value is written ``\,``.
        now: the moment that ages such as ``7d`` are counted from; default the present one.

    Raises:
        ValueError: if a part is none of those there are, or is there twice.
    """
    stores: list[str] = []
    periods: list[tuple[datetime | None, datetime | None]] = []
    chosen: dict[str, str] = {}
    present = now or datetime.now(UTC)
    for part in _parts(text):
        if _STORE.fullmatch(part):
            stores.append(part)
        elif (period := _period(part, present)) is not None:
            periods.append(period)
        elif "=" in part and _choice(part)[0] != "tag:":
            key, value = _choice(part)
            if key in chosen:
                raise ValueError(f"{text!r}: {key} is there twice; a side has one value of each")
            chosen[key] = value
        elif Path(part).is_dir():
            stores.append(part)
        else:
            raise ValueError(f"{text!r}: {part!r} is none of what a side is made of: {_FORMS}")
    if len(stores) > 1 or len(periods) > 1:
        raise ValueError(f"{text!r}: a side has one store and one period")
    since, until = periods[0] if periods else (None, None)
    return Side(text, stores[0] if stores else None, since, until, tuple(chosen.items()))


def _parts(text: str) -> Sequence[str]:
    parts = [part.strip().replace("\\,", ",") for part in _COMMA.split(text)]
    if not all(parts):
        raise ValueError(f"{text!r}: a side is {_FORMS}, combined with commas")
    return parts


def _choice(part: str) -> tuple[str, str]:
    """Return key and value; a name that is no key is a tag's."""
    name, _, value = part.partition("=")
    name = name.strip()
    is_key = name in COST_KEYS or (name.startswith("tag:") and name != "tag:")
    return name if is_key else f"tag:{name}", value.strip()


def _period(part: str, now: datetime) -> tuple[datetime | None, datetime | None] | None:
    """Return the first moment of a period and the first after it; None if it is none."""
    if ".." in part and "=" not in part:
        first, _, last = part.partition("..")
        since, until = (moment(end, now) if end.strip() else None for end in (first, last))
        if since is None and until is None:
            return None
        if since is not None and until is not None and since >= until:
            raise ValueError(f"{part!r} ends before it begins; the end is the first moment that is not in it")
        return since, until
    if (past := age(part)) is not None:
        return moment_ago(past, now), now
    try:
        return _whole(part)
    except (ValueError, OverflowError):
        raise ValueError(f"{part!r} is no day or month that there is") from None


def _whole(part: str) -> tuple[datetime, datetime] | None:
    """Return the bounds of a day or a month, in UTC."""
    if _DAY.fullmatch(part):
        day = datetime.fromisoformat(part).replace(tzinfo=UTC)
        return day, day + timedelta(days=1)
    if found := _MONTH.fullmatch(part):
        year, month = int(found[1]), int(found[2])
        first = datetime(year, month, 1, tzinfo=UTC)
        return first, datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return None

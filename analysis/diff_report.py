"""A comparison for people: as tables on a terminal, as Markdown for a pull request, as JSON for programs."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
import polars as pl
from rich.console import Console

from .comparing import PARTS
from .output import UNPIPED_WIDTH, cell_text, json_rows, markdown_table, markdown_text, printable, table_of
from .splitting import change_of, exact_sum, share_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .comparing import Comparison

_FIGURES: Final = ("A", "B", "change", "change %")
_MEANINGS: Final[Mapping[str, str]] = {
    "volume": "more or fewer calls",
    "models": "calls moved to other models",
    "tokens": "more or fewer tokens a call",
    "price": "what a token costs: prices, tiers, caching",
    "new": "only on side B",
    "gone": "only on side A",
    "unpriced": "no cost known on one of the sides",
}
_SAID_BY_STATUS: Final = ("new", "gone")
_MEASURES: Final[Sequence[tuple[str, str]]] = (
    ("calls", "calls"),
    ("conversations", "conversations"),
    ("input tokens", "input_tokens"),
    ("- read from cache", "cache_read_tokens"),
    ("- written to cache", "cache_write_tokens"),
    ("output tokens", "output_tokens"),
    ("- reasoning", "reasoning_tokens"),
    ("cache share", "cache_share"),
    ("cost USD", "cost_usd"),
    ("- estimated", "estimated_cost_usd"),
    ("cost per call USD", "cost_per_call_usd"),
    ("calls without a cost", "unpriced_calls"),
    ("failed calls", "failed_calls"),
    ("call ms, median", "duration_ms_median"),
    ("call ms, 95 %", "duration_ms_p95"),
    ("first chunk ms, median", "first_chunk_ms_median"),
    ("first chunk ms, 95 %", "first_chunk_ms_p95"),
)


class _Section(NamedTuple):
    title: str
    frame: pl.DataFrame
    figures: Sequence[str]


def diff_text(comparison: Comparison, shown: int, room: int) -> str:
    """Return a comparison as tables, of at most so many groups and characters a line."""
    console = Console(file=io.StringIO(), width=UNPIPED_WIDTH, highlight=False)
    with console.capture() as captured:
        for line in (*_sides(comparison), *comparison.notes):
            console.print(printable(line), markup=False, soft_wrap=True)
        for title, frame, figures in _sections(comparison, shown):
            console.print(f"\n{title}", markup=False, style="bold")
            console.print(table_of(frame, room, figures), crop=False)
    return captured.get()


def diff_markdown(comparison: Comparison, shown: int) -> str:
    """Return a comparison as Markdown, of at most so many groups."""
    lines = [f"- {markdown_text(line)}\n" for line in (*_sides(comparison), *comparison.notes)]
    sections = [
        f"\n### {title}\n\n{markdown_table(frame, figures)}" for title, frame, figures in _sections(comparison, shown)
    ]
    return "".join((*lines, *sections))


def diff_json(comparison: Comparison) -> str:
    """Return a comparison as one JSON object: totals, split, models, groups, notes."""
    frames = {name: getattr(comparison, name) for name in ("totals", "split", "models", "groups")}
    parts = [f'"{name}":{json_rows(frame)}' for name, frame in frames.items()]
    return "{" + ",\n".join([*parts, f'"notes":{orjson.dumps(comparison.notes).decode()}']) + "}\n"


def _sides(comparison: Comparison) -> list[str]:
    sides = comparison.totals.select("side", "priced_by").rows()
    return [f"{name}: {said}, priced by {book}" for name, (said, book) in zip("AB", sides, strict=True)]


def _sections(comparison: Comparison, shown: int) -> list[_Section]:
    split = comparison.split.filter(pl.col("usd") != 0)
    meant = split.select(
        pl.col("part"), pl.col("part").replace(_MEANINGS).alias("what changed"), _column(split["usd"], "change USD")
    )
    sections = [
        _Section("Totals", _totals(comparison), _FIGURES),
        _Section("Why the cost changed", meant, ["change USD"]),
        _Section("Models", _models(comparison.models), ["cost share A", "cost share B"]),
        _Section("Largest changes", *_groups(comparison.groups, shown)),
    ]
    return [section for section in sections if section.frame.height]


def _totals(comparison: Comparison) -> pl.DataFrame:
    a, b = comparison.totals.rows(named=True)
    rows = [
        (
            label,
            _cell(a, name),
            _cell(b, name),
            _signed(_change(a[name], b[name], name)),
            _percent(a[name], b[name], name),
        )
        for label, name in _MEASURES
        if a[name] is not None or b[name] is not None
    ]
    return pl.DataFrame(rows, schema=["measure", *_FIGURES], orient="row")


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if name == "cache_share" and value is not None:
        return f"{value * 100:.1f} %"
    least = "at least " if name == "cost_usd" and row["unpriced_calls"] else ""
    return f"{least}{cell_text(value)}"


def _change(a: Any, b: Any, name: str) -> Any:
    """Return by how much a figure has changed; None where one is not known, of shares there is none."""
    if a is None or b is None or name == "cache_share":
        return None
    return change_of(a, b) if isinstance(a, Decimal) else b - a


def _percent(a: Any, b: Any, name: str) -> str:
    if name == "cache_share" and a is not None and b is not None:
        return f"{(b - a) * 100:+.1f} points"
    return _share(None if a is None or b is None else share_of(_change(a, b, name) or 0, a))


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:+.1f} %"


def _signed(value: Any) -> str:
    if value is None:
        return "-"
    text = cell_text(value).removeprefix("-")
    if not text.strip("0."):
        return text  # too little to be seen is neither more nor less
    return f"-{text}" if value < 0 else f"+{text}"


def _column(values: pl.Series, name: str) -> pl.Series:
    return pl.Series(name, [_signed(value) for value in values], pl.String)


def _models(models: pl.DataFrame) -> pl.DataFrame:
    shares = [
        pl.Series(f"cost share {side.upper()}", [None if share is None else f"{share * 100:.1f} %" for share in column])
        for side, column in (("a", models["cost_share_a"]), ("b", models["cost_share_b"]))
    ]
    figures = models.select(
        "model",
        pl.col("calls_a").alias("calls A"),
        pl.col("calls_b").alias("calls B"),
        pl.col("cost_a_usd").alias("cost A USD"),
        pl.col("cost_b_usd").alias("cost B USD"),
    )
    return figures.with_columns(share.cast(pl.String) for share in shares)


def _groups(groups: pl.DataFrame, shown: int) -> tuple[pl.DataFrame, list[str]]:
    """Return the groups that changed most, and one row of all others, so that the changes add up.

    Columns are called as in ``Comparison.groups``, where none has the name of a key.
    """
    keys = groups.columns[: groups.columns.index("status")]
    parts = [name for name in PARTS if name not in _SAID_BY_STATUS and (groups[f"{name}_usd"] != 0).any()]
    unpriced = [side for side in "ab" if groups[f"unpriced_calls_{side}"].sum()]
    rows = [_group_row(row, keys, parts, unpriced) for row in groups.head(shown).rows(named=True)]
    if groups.height > shown:
        rows.append(_group_row(_others(groups.slice(shown), keys), keys, parts, unpriced))
    figures = [
        *("calls_a", "calls_b", "cost_a_usd", "cost_b_usd", "change_usd", "change_share"),
        *(f"{part}_usd" for part in parts),
        *(f"unpriced_calls_{side}" for side in unpriced),
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys([*keys, "status", *figures], pl.String), orient="row"), figures


def _group_row(
    row: Mapping[str, Any], keys: Sequence[str], parts: Sequence[str], unpriced: Sequence[str]
) -> Sequence[str]:
    return [
        *(cell_text(row[key]) for key in (*keys, "status", "calls_a", "calls_b", "cost_a_usd", "cost_b_usd")),
        _signed(row["change_usd"]),
        _share(row["change_share"]),
        *(_signed(row[f"{part}_usd"]) for part in parts),
        *(cell_text(row[f"unpriced_calls_{side}"]) for side in unpriced),
    ]


def _others(rest: pl.DataFrame, keys: Sequence[str]) -> dict[str, Any]:
    """Return one row that sums groups; what is NULL in all of them is NULL in it."""
    row: dict[str, Any] = dict.fromkeys((*keys, "status"))
    for name in rest.columns[len(row) :]:
        known = rest[name].drop_nulls()
        row[name] = None if known.is_empty() else exact_sum(known) if name.endswith("_usd") else known.sum()
    row[keys[0]] = f"(others: {rest.height})"
    row["change_share"] = share_of(row["change_usd"] or 0, row["cost_a_usd"])
    return row

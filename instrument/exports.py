"""Exports: what providers let their customers download of usage and costs (``[[export]]`` of their documents)."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from . import paths
from .paths import Expression, Path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .frontmatter import Table

TEXTS: Final = ("day", "model", "key", "cost", "currency")
"""What a row says in words: a time, the model, whose key or project, an amount and its currency."""
COUNTS: Final = ("calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


@dataclass(frozen=True, slots=True)
class Export:
    """One kind of export: how its files are told, and where things stand in them.

    Attributes:
        name: what people call it.
        form: ``json`` or ``csv``.
        requires: paths (of a file) or columns that must be there: by these a file is told.
        levels: paths of the rows, one within the other; what an outer one says holds for the inner ones.
        texts: by ``TEXTS`` where it stands in a row: alternatives.
        counts: by ``COUNTS`` the expression over a row (JSON), or alternatives of columns (CSV).
        cost_unit_usd: what an amount of 1 is.
        model_until: a text at which the model's name ends, where more stands behind it.
        identifier: our name of what ``key`` says.
        more: a path that is true where the file is not the last page.
    """

    name: str
    form: str = "json"
    requires: tuple[str, ...] = ()
    levels: tuple[Path, ...] = ()
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    counts: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    cost_unit_usd: Decimal = Decimal(1)
    model_until: str = ""
    identifier: str | None = None
    more: Path | None = None

    def text(self, row: Mapping[str, Any], name: str) -> Any:
        """Return what a row says of one of ``TEXTS``; None if nothing."""
        for where in self.texts.get(name, ()):
            value = paths.first(row, paths.parse(where)) if self.form == "json" else row.get(where.lower())
            if value not in (None, ""):
                return value
        return None

    def count(self, row: Mapping[str, Any], name: str) -> int | None:
        """Return one of ``COUNTS`` of a row; None if it says none.

        Raises:
            ValueError: if there is something that is no count.
        """
        for where in self.counts.get(name, ()):
            if self.form == "json":
                found = Expression.parse(where).count(dict(row))
            else:
                said = str(row.get(where.lower()) or "").replace(",", "").strip()
                found = _whole(said) if said else None
            if found is not None:
                return found
        return None


def _whole(text: str) -> int:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not (number.is_finite() and 0 <= number < paths.MAX_COUNT and number == number.to_integral_value()):
        raise ValueError(f"{text[:40]!r} is no count")
    return int(number)


def export(table: Table) -> Export:
    """Return the export of one ``[[export]]`` table.

    Raises:
        DocumentError: naming file, key and what was expected.
    """
    table.note("source", "checked", "notes")
    form = table.text("form", "json")
    if form not in ("json", "csv"):
        raise table.fail("form", "'json' or 'csv'")
    fields = table.table("fields")
    texts = {name: fields.texts(name) for name in TEXTS}
    counts = {name: fields.texts(name) for name in COUNTS}
    fields.finish()
    levels, more = table.texts("rows"), table.texts("more")
    for where in (*levels, *more, *(table.texts("requires") if form == "json" else ())):
        table.parsed("rows", paths.parse, where, "a path")
    if form == "json":
        for name, wheres in (*texts.items(), *counts.items()):
            for where in wheres:
                table.parsed(name, Expression.parse, where, "a path")
    found = Export(
        name=table.text("name"),
        form=form,
        requires=table.texts("requires", None),
        levels=tuple(map(paths.parse, levels)),
        texts=texts,
        counts=counts,
        cost_unit_usd=table.parsed("cost_unit_usd", _amount, table.text("cost_unit_usd", "1"), "a number in quotes"),
        model_until=table.text("model_until", ""),
        identifier=table.text("identifier", "") or None,
        more=paths.parse(more[0]) if more else None,
    )
    table.finish()
    return found


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is no number") from error

"""One provider's document for people: its facts as tables, its prose as it is written, on a terminal or as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import polars as pl
from rich.console import Group
from rich.markdown import Markdown
from rich.padding import Padding
from rich.rule import Rule
from rich.style import Style
from rich.table import Table
from rich.text import Text

from .output import markdown_text, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from ..instrument.capabilities import CachingCapabilities, ProviderCapabilities, SurfaceCapabilities

Facts = list[tuple[str, str]]
"""What is said, under which name; nothing that is not said."""

SURFACE_SCHEMA: Final = pl.Schema(
    {
        "provider": pl.String(),
        "surface": pl.String(),
        "operation": pl.String(),
        "methods": pl.List(pl.String),
        "path": pl.String(),
        "billed": pl.Boolean(),
        "stateful": pl.String(),
        "retention": pl.String(),
        "identifiers": pl.List(pl.String),
        "usage": pl.List(pl.String),
        "caching": pl.String(),
        "tiers": pl.List(pl.String),
        "metadata_fields": pl.List(pl.String),
        "sources": pl.List(pl.String),
        "checked": pl.String(),
    }
)


def surface_table(found: ProviderCapabilities) -> pl.DataFrame:
    """Return one row per surface, for programs that want a provider as rows."""
    rows = [
        {
            "provider": found["id"],
            "surface": name,
            **{key: surface[key] for key in ("operation", "methods", "path", "billed", "retention", "tiers")},
            "stateful": _said(surface["stateful"]) or None,
            "identifiers": surface["supported_identifiers"],
            "usage": _usage(surface),
            "caching": _caching(surface["caching"]) or None,
            **{key: surface[key] for key in ("metadata_fields", "sources", "checked")},
        }
        for name, surface in found["surfaces"].items()
    ]
    return pl.DataFrame(rows, schema=SURFACE_SCHEMA, orient="row")


def provider_page(found: ProviderCapabilities, prose: str) -> RenderableType:
    """Return a provider's document for a terminal.

    Args:
        found: what the document says.
        prose: its Markdown.
    """
    return Group(*_parts(found, prose))


def _parts(found: ProviderCapabilities, prose: str) -> Iterator[RenderableType]:
    yield Text.assemble((printable(found["name"]), "bold"), f"  {printable(found['id'])}")
    yield _grid(_facts(found), found["sources"])
    for package, sdk in found["sdk"].items():
        yield _rule(f"SDK {package}")
        yield _grid([(key.replace("_", " "), _said(value)) for key, value in sdk.items()])
    for name, surface in found["surfaces"].items():
        yield _rule(name)
        yield _grid(_surface_facts(surface), surface["sources"])
    yield _rule("notes")
    yield Markdown("\n".join(printable(line) for line in _body(prose).splitlines()))


def _rule(title: str) -> RenderableType:
    return Padding(Rule(Text(printable(title), style="bold"), align="left", style="dim", characters="─"), (1, 0, 0, 0))


def _grid(facts: Facts, sources: Sequence[str] = ()) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(Text(name), Text(printable(value)))
    for index, url in enumerate(sources):
        grid.add_row(Text("" if index else "sources"), Text(printable(url), Style(link=printable(url), underline=True)))
    return grid


def provider_markdown(found: ProviderCapabilities, prose: str) -> str:
    """Return a provider's document as Markdown: its facts as tables before its prose."""
    lines = [f"# {markdown_text(found['name'])}", "", *_rows(_facts(found)), ""]
    for package, sdk in found["sdk"].items():
        facts = [(key.replace("_", " "), _said(value)) for key, value in sdk.items()]
        lines += [f"## SDK {markdown_text(package)}", "", *_rows(facts), ""]
    for name, surface in found["surfaces"].items():
        lines += [f"## Surface {markdown_text(name)}", "", *_rows(_surface_facts(surface)), ""]
        lines += [*(f"- <{printable(url)}>" for url in surface["sources"]), ""] if surface["sources"] else []
    lines += [*(printable(line) for line in _body(prose).splitlines()), ""]
    lines += ["## Sources", "", *(f"- <{printable(url)}>" for url in found["sources"]), ""] if found["sources"] else []
    return "\n".join(lines)


def _rows(facts: Facts) -> list[str]:
    return [
        "| fact | |",
        "| --- | --- |",
        *(f"| {markdown_text(name)} | {markdown_text(value)} |" for name, value in facts),
    ]


def _body(prose: str) -> str:
    """Return the prose without the title that repeats the provider's name."""
    first, _, rest = prose.strip().partition("\n")
    return rest.strip() if first.startswith("# ") else prose.strip()


def _facts(found: ProviderCapabilities) -> Facts:
    return _spoken(
        {
            "OpenTelemetry name": found["otel_provider_name"],
            "price book": found["price_provider"],
            "hosts": found["hosts"],
            "API keeps state": found["api_stateful"],
            "SDKs keep sessions": found["sdk_session_support"],
            "capabilities": found["capabilities"],
            "headers": found["headers"],
            "cost": found["cost_truth"],
            "sends the bill": found["bills"],
            **{
                f"billed of {name.replace('_', ' ')}": value
                for name, value in found["billing"].items()
                if value != "unknown" and name not in ("source", "checked", "notes", "stated_by")
            },
            "said by": found["billing"]["stated_by"],
            "of bills": found["billing"]["notes"],
            "checked": found["checked"],
        }
    )


def _surface_facts(surface: SurfaceCapabilities) -> Facts:
    return _spoken(
        {
            "request": f"{' '.join(surface['methods'])} {surface['path']}",
            "operation": surface["operation"] if surface["billed"] else f"{surface['operation']}, runs no model",
            "stateful": surface["stateful"],
            "kept for": surface["retention"],
            "identifiers": surface["supported_identifiers"],
            "usage": _usage(surface),
            "metadata": surface["metadata_fields"],
            "tiers": surface["tiers"],
            "notes": surface["notes"],
            "checked": surface["checked"],
            **_caching_rules(surface["caching"]),
        }
    )


def _usage(surface: SurfaceCapabilities) -> list[str]:
    usage = surface["usage"]
    billed = ["billed_cost"] if usage["reports_billed_cost"] else []
    return [
        *usage["counts"],
        *(f"cache_write_{ttl}" for ttl in usage["cache_write_by_ttl"]),
        *usage["details"],
        *billed,
    ]


def _caching_rules(caching: CachingCapabilities | None) -> dict[str, Any]:
    """Return the caching rules by their names, the kind first."""
    rules: Mapping[str, Any] = {} if caching is None else {**caching}
    rest = {f"· {key.replace('_', ' ')}": value for key, value in rules.items() if key != "kind"}
    return {"caching": rules.get("kind"), **rest}


def _caching(caching: CachingCapabilities | None) -> str:
    """Return the caching rules in one line."""
    return "; ".join(f"{name.removeprefix('· ')}: {value}" for name, value in _spoken(_caching_rules(caching)))


def _spoken(facts: Mapping[str, Any]) -> Facts:
    return [(name, text) for name, value in facts.items() if (text := _said(value))]


def _said(value: Any) -> str:
    """Return a value of a document as people read it; empty where it says nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_said(item)}" for key, item in cast("dict[str, Any]", value).items())
    return ", ".join(map(_said, cast("list[Any]", value))) if isinstance(value, list) else str(value)

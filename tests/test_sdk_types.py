"""Documents against the types of SDKs: what a document reads exists, what looks like an id or usage is accounted for.

Surfaces name the types in ``sdk_types``; what looks like an identifier or usage and is neither stands in ``explained``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from made_exchanges import REGISTRY, surface_of, written
from pydantic import BaseModel
from sdk_types import Node, Steps, is_figure, is_id, tree
from turnledger.instrument import paths
from turnledger.instrument.documents import parse_documents
from turnledger.instrument.surfaces import Location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turnledger.instrument.surfaces import Surface

_ANYWHERE = "**"
_IN_BODY = ("response.body", "response.last", "response.sole")
TYPED = [
    f"{document.id}/{surface.name}"
    for document in REGISTRY.documents.values()
    for surface in document.surfaces
    if surface.facts.get("sdk_types")
]


def places(root: Node, surface: Surface, path: Steps) -> bool:
    """Tell whether a path leads anywhere, in the response itself or inside a stream's envelope."""
    roots = [root, *(inside for envelope in surface.stream.unwrap for inside in root.at(envelope))]
    return any(next(iter(item.at(path)), None) is not None for item in roots)


def usage_paths(surface: Surface) -> Iterator[Steps]:
    """Yield every path that a surface counts by."""
    rules = surface.usage
    expressions = [*rules.counts.values(), *rules.details.values(), *rules.cache_write_by_ttl.values()]
    for expression in expressions:
        for path in (path for terms in expression.alternatives for path, *_ in terms):
            yield from placed_usage(surface, path)
    for prefix in rules.at:
        yield from ((*prefix, *path) for path in (rules.billed_cost, rules.reasoning_beside_output_if_total) if path)


def placed_usage(surface: Surface, path: Steps) -> Iterator[Steps]:
    """Yield where a path of the usage object may stand in a response."""
    apart = surface.usage.beside.get(path[0])
    derived = {**surface.usage.counted, **surface.usage.moments}.get(path[0])
    if apart is not None:
        yield (*apart, *path[2:])
    elif derived is not None:
        yield derived
    else:
        yield from ((*prefix, *path) for prefix in surface.usage.at)


def read_paths(surface: Surface) -> list[Steps]:
    """Return every path of the response that a surface reads, its own or inherited."""
    locations = [*surface.identifiers.values(), *surface.fields.values()]
    found = [item.path for group in locations for item in group if item.source in _IN_BODY]
    return [*found, *usage_paths(surface)]


def fits(path: Steps, place: Steps) -> bool:
    """Tell whether a path of a document leads to a place of a type."""
    if not path or not place:
        return not path and not place
    if path[0].startswith("[") and path[0] != "[]":
        return fits(path[1:], place[1:] if place[0] == "[]" else place)
    return (path[0] == place[0] or "*" in (path[0], place[0])) and fits(path[1:], place[1:])


def within(surface: Surface, place: Steps) -> list[Steps]:
    """Return a place as it is seen from the response, and from inside of a stream's envelope."""
    return [place, *(place[len(path) :] for path in surface.stream.unwrap if place[: len(path)] == path)]


def explained(surface: Surface) -> list[Steps]:
    """Return the paths that the surface explains; all below them is explained too. One may begin anywhere."""
    texts = surface.facts.get("explained", ())
    return [(_ANYWHERE, *paths.parse(text[3:])) if text.startswith("**.") else paths.parse(text) for text in texts]


def starts(place: Steps, path: Steps) -> bool:
    """Tell whether a place is at or below a path."""
    if path[0] == _ANYWHERE:
        return any(starts(place[begin:], path[1:]) for begin in range(len(place)))
    return any(fits(path, place[:length]) for length in range(len(place) + 1))


def missing(surface: Surface, table: Any, root: Node) -> list[str]:
    """Return the locations written in a surface's own table that no type has and nothing explains."""
    texts: list[str] = []
    for name in ("identifiers", "fields"):
        for value in table.get(name, {}).values():
            texts += [value] if isinstance(value, str) else value
    found = [(text, Location.parse(text)) for text in texts]
    lost = [
        text
        for text, item in found
        if item.source in _IN_BODY
        and not _is_error(item.path)
        and not places(root, surface, item.path)
        and not any(starts(item.path, path) for path in explained(surface))
    ]
    own = paths_written(table.get("usage", {}))
    for path in own:
        whole = list(placed_usage(surface, path))
        if not any(places(root, surface, item) for item in whole) and not any(
            starts(item, path) for item in whole for path in explained(surface)
        ):
            lost.append(".".join(path))
    return lost


def _is_error(path: Steps) -> bool:
    """Tell whether a path leads into the body of a failure: SDKs raise those, and have no type for them."""
    return bool({"error", "errors"} & set(path)) or path[0] in ("[object=error]", "code", "type")


def paths_written(usage: Any) -> list[Steps]:
    """Return the paths in a table of usage, as its document has it."""
    counts = {**usage, **usage.get("details", {}), **usage.get("cache_write_by_ttl", {})}
    for name in ("at", "beside", "merge", "headers", "details", "cache_write_by_ttl", "billed_cost_unit_usd"):
        counts.pop(name, None)
    for name in ("counted", "moments"):
        counts.pop(name, None)  # a count by such a name is looked for where that stands
    texts = [text for value in counts.values() for text in ([value] if isinstance(value, str) else value)]
    terms = [term.strip().removesuffix("?") for text in texts for term in re.split(r"\||\+| - ", text)]
    return [paths.parse(term) for term in terms]


def unaccounted(surface: Surface, root: Node) -> list[str]:
    """Return the places of the types that look like identifiers or usage, and that the document does not know."""
    read, known = read_paths(surface), explained(surface)
    return sorted(
        {
            ".".join(place).replace(".[]", "[]")
            for place, node in root.leaves()
            if is_id(place, node) or is_figure(place, node)
            if not any(fits(path, seen) for path in read for seen in within(surface, place))
            if not any(starts(seen, path) for path in known for seen in within(surface, place))
        }
    )


@pytest.mark.parametrize("name", TYPED)
def test_what_a_surface_reads_is_in_the_types(name: str):
    surface = surface_of(name)
    lost = missing(surface, written(name), tree(surface.facts["sdk_types"]))
    assert lost == [], "no type has it: put it right, or explain where it was seen"


@pytest.mark.parametrize("name", TYPED)
def test_what_looks_like_an_id_or_usage_is_read_or_explained(name: str):
    surface = surface_of(name)
    left = unaccounted(surface, tree(surface.facts["sdk_types"]))
    assert left == [], "read it, or say under [surface.explained] why it is neither an identifier nor usage"


class Part(BaseModel):
    """A part of a response made for the test."""

    call_id: str
    output_tokens: int
    text: str


class Reply(BaseModel):
    """A response made for the test."""

    id: str
    parts: list[Part] | None
    limits: dict[str, int]
    max_tokens: int


TABLE = """+++
id = "acme"
name = "Acme"
hosts = ["api.acme.test"]
[[surface]]
name = "chat"
operation = "chat"
path = "/chat"
sdk_types = ["test_sdk_types:Reply"]
[surface.identifiers]
response_id = "response.body:id"
{identifier}
[surface.usage]
at = "$"
output_tokens = "{count}"
[surface.explained]
{explained}
+++
"""


@pytest.mark.parametrize(
    ("identifier", "count", "note", "lost", "left"),
    [
        ('call_id = "response.body:parts[].call_id"', "parts[].output_tokens", '"max_tokens" = "a limit"', [], []),
        ('call_id = "response.body:parts.call_id"', "used", '"max_tokens" = "a limit"', 2, 2),
        ("", "parts[].output_tokens", '"**.max_tokens" = "a limit"', [], ["parts[].call_id"]),
        ("", "parts[].output_tokens", '"parts" = "content"', [], ["max_tokens"]),
    ],
)
def test_what_is_wrong_or_left_out_is_found(identifier: str, count: str, note: str, lost: Any, left: Any):
    text = TABLE.format(identifier=identifier, count=count, explained=note)
    document = parse_documents({"acme.md": text})[0]
    surface, root = document.surfaces[0], tree(["test_sdk_types:Reply"])
    found = (missing(surface, document.front["surface"][0], root), unaccounted(surface, root))
    for said, expected in zip(found, (lost, left), strict=True):
        assert len(said) == expected if isinstance(expected, int) else said == expected

"""Which provider's response a document is, told by its shape alone: where neither a URL nor an application says it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast

from . import paths
from .documents import Match
from .facts import unwrapped
from .paths import find
from .usage import read_usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .documents import ProviderDocument, Registry
    from .surfaces import Location, Surface

_MARKS_NEEDED: Final = 2
_MANY: Final = frozenset({"[]", "*"})
"""Answers stand in a list, or the models' shares by their names: one mark leads through such a step."""
_NEEDED: Final = ("response_id", "response_model")
_RESPONSE: Final = ("response.body", "response.last", "response.sole")
_CAPITAL: Final = re.compile(r"(?<=[a-z0-9])[A-Z]")


class ResponseShapes:
    """The shapes of responses that the documents describe.

    A document has the shape of a surface if, where the surface says, it has a response id, a model, token counts and
    the marks of an answer (its ``metadata_fields``).

    Args:
        registry: the provider documents.
    """

    def __init__(self, registry: Registry) -> None:
        self._shapes = [
            _Shape(document, surface)
            for document in registry.documents.values()
            for surface in document.surfaces
            if surface.is_billed and not any(location.source.endswith(".header") for location in surface.requires)
        ]
        roots = {path[0] for shape in self._shapes for path in shape.surface.usage.at if path}
        self.usage_names = roots | {_snake_case(name) for name in roots}
        """Names under which responses have their usage, as JSON and as Python spell them."""
        self.event_names = self.usage_names | {
            path[0] for shape in self._shapes for path in shape.surface.stream.unwrap
        }
        """Names under which events of a stream have it, or the response that has it."""

    def recognised(self, documents: Sequence[Any]) -> Match | None:
        """Return the surface whose shape a response's documents have (of a stream all events), None if there is none.

        Where several providers speak this shape and nothing says which one it is, it is the one they have it from.
        """
        weighed = [(shape.evidence(documents), shape) for shape in self._shapes]
        most = max((weight for weight, _ in weighed), default=0)
        best = [shape for weight, shape in weighed if weight == most > 0]
        if len({shape.document.id for shape in best}) > 1:
            best = [shape for shape in best if shape.surface.home == shape.document.id]
        if len({shape.document.id for shape in best}) > 1:
            return None
        return Match(best[0].document, best[0].surface, {}) if best else None


class _Shape:
    """What the response of a surface looks like."""

    def __init__(self, document: ProviderDocument, surface: Surface) -> None:
        self.document, self.surface = document, surface
        self._marks = marks_of(surface)

    def evidence(self, documents: Sequence[Any]) -> int:
        """Return how much of the surface's response is found in the documents; 0 if it is none."""
        documents = list(unwrapped(documents, self.surface.stream))
        marks = [path for path in self._marks if has(documents, path)]
        if len(marks) < _MARKS_NEEDED or all(_MANY.isdisjoint(path) for path in marks):
            return 0
        fields = {name for name in _NEEDED for path in _in_response(self.surface.fields, name) if has(documents, path)}
        usage = read_usage(documents, self.surface.usage)
        if len(fields) < len(_NEEDED) or (usage.input_tokens is None and usage.output_tokens is None):
            return 0
        identifiers = self.surface.identifiers
        named = sum(has(documents, path) for name in identifiers for path in _in_response(identifiers, name))
        counts = [usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens, *usage.details.values()]
        return len(marks) + named + sum(count is not None for count in counts)


def _in_response(locations: Mapping[str, tuple[Location, ...]], name: str) -> Iterator[paths.Path]:
    return (location.path for location in locations.get(name, ()) if location.source in _RESPONSE)


def marks_of(surface: Surface) -> list[paths.Path]:
    """Return the marks of a surface's answer: where its ``metadata_fields`` stand."""
    return [paths.parse(text) for text in surface.facts.get("metadata_fields", ())]


def has(documents: Sequence[Any], path: paths.Path) -> bool:
    """Tell whether any of the documents has something at the path."""
    return any(value not in (None, "") for document in documents for value in find(document, path))


def _snake_case(name: str) -> str:
    return _CAPITAL.sub(lambda capital: "_" + capital[0].lower(), name)


def json_names(node: Any) -> Any:
    """Return JSON with its names in camel case, as JSON spells what Python and protobuf spell with underscores."""
    if isinstance(node, dict):
        fields = cast("dict[str, Any]", node)
        return {_camel_case(str(name)): json_names(value) for name, value in fields.items()}
    return [json_names(item) for item in cast("list[Any]", node)] if isinstance(node, list) else node


def _camel_case(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)

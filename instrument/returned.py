"""Calls seen only in what an observed function returns: where no exchange could be watched (gRPC, an unknown client).

A returned dict or SDK object counts as a provider's response if, where a surface of the documents says, it has a
response id, a model, token counts and the marks of an answer. It says nothing of the request, the status or the tries.

A response that the application kept looks like one that was just made: a response id counts once in a process.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from opentelemetry import context as otel_context

from . import paths
from .documents import Match
from .exchange import Exchange
from .facts import extract_matched, response_document
from .paths import find
from .usage import read_usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .context import Conversation
    from .documents import ProviderDocument, Registry
    from .facts import CallFacts
    from .surfaces import Location, Surface

_MARKS_NEEDED: Final = 2
_REMEMBERED_IDS: Final = 10_000
_NEEDED: Final = ("response_id", "response_model")
_RESPONSE: Final = ("response.body", "response.last")
_CAPITAL: Final = re.compile(r"(?<=[a-z0-9])[A-Z]")


class Returned:
    """What an observed function returned, until the worker has read it."""

    __slots__ = ("_result", "conversation", "ended_ns", "parent", "started_ns")

    def __init__(self, result: object, conversation: Conversation, started_ns: int, ended_ns: int) -> None:
        # A dict is the application's to go on with: its own fields are taken as they are now.
        self._result = dict(cast("dict[Any, Any]", result)) if type(result) is dict else result
        self.conversation, self.parent = conversation, otel_context.get_current()
        self.started_ns, self.ended_ns = started_ns, ended_ns

    def take(self) -> object:
        """Return the result and let go of it."""
        result, self._result = self._result, None
        return result


class ResponseReader:
    """Tells provider responses from other objects, and reads them by their surface.

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
        self._usage_names = roots | {_snake_case(name) for name in roots}
        self._ids: dict[str, None] = {}

    def may_be_response(self, result: object) -> bool:
        """Tell by the type and its names alone, without reading anything, whether ``result`` may be a response."""
        kind = type(result)
        if kind is dict:
            return not self._usage_names.isdisjoint(cast("dict[Any, Any]", result))
        if not (hasattr(kind, "model_dump") or hasattr(kind, "to_dict")):
            return False
        own: Mapping[str, Any] = getattr(result, "__dict__", {})
        return any(name in own or hasattr(kind, name) for name in self._usage_names)

    def is_new(self, response_id: str) -> bool:
        """Tell whether a response of this id was not seen yet, on the wire or returned; from now on it was."""
        if response_id in self._ids:
            return False
        self._ids[response_id] = None
        if len(self._ids) > _REMEMBERED_IDS:
            self._ids.pop(next(iter(self._ids)), None)
        return True

    def read(self, returned: Returned) -> CallFacts | None:
        """Return the facts of a returned response, None if it is none."""
        try:
            document = response_document(returned.take())
        except ValueError:
            return None
        match = self._recognised(document)
        if match is None:
            # Python and protobuf spell with underscores what JSON spells in camel case.
            document = _json_names(document)
            match = self._recognised(document)
        if match is None:
            return None
        exchange = Exchange.build(
            method="",
            url="",
            request_body=None,
            response_body=orjson.dumps(document, default=str, option=orjson.OPT_NON_STR_KEYS),
            started_ns=returned.started_ns,
            ended_ns=returned.ended_ns,
        )
        facts = extract_matched(exchange, match)
        return facts and replace(facts, raw_metadata={"response": facts.raw_metadata["response"]})

    def _recognised(self, document: Mapping[str, Any]) -> Match | None:
        weighed = [(shape.evidence(document), shape) for shape in self._shapes]
        most = max(weight for weight, _ in weighed)
        best = [shape for weight, shape in weighed if weight == most > 0]
        if len({shape.document.id for shape in best}) > 1:
            # Several providers speak this shape and nothing here says which one: it is the one they have it from.
            best = [shape for shape in best if shape.surface.home == shape.document.id]
            if len({shape.document.id for shape in best}) > 1:
                return None
        return Match(best[0].document, best[0].surface, {}) if best else None


class _Shape:
    """What the response of a surface looks like."""

    def __init__(self, document: ProviderDocument, surface: Surface) -> None:
        self.document, self.surface = document, surface
        self._marks = [paths.parse(text) for text in surface.facts.get("metadata_fields", ())]

    def evidence(self, document: Mapping[str, Any]) -> int:
        """Return how much of the surface's response is found in a document; 0 if it is none."""
        marks = [path for path in self._marks if _has(document, path)]
        if len(marks) < _MARKS_NEEDED or not any("[]" in path for path in marks):  # the answers stand in a list
            return 0
        fields = {name for name in _NEEDED for path in _in_response(self.surface.fields, name) if _has(document, path)}
        usage = read_usage([document], self.surface.usage)
        if len(fields) < len(_NEEDED) or (usage.input_tokens is None and usage.output_tokens is None):
            return 0
        identifiers = self.surface.identifiers
        named = sum(_has(document, path) for name in identifiers for path in _in_response(identifiers, name))
        counts = [usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens, *usage.details.values()]
        return len(marks) + named + sum(count is not None for count in counts)


def _in_response(locations: Mapping[str, tuple[Location, ...]], name: str) -> Iterator[paths.Path]:
    return (location.path for location in locations.get(name, ()) if location.source in _RESPONSE)


def _has(document: Mapping[str, Any], path: paths.Path) -> bool:
    return any(value not in (None, "") for value in find(document, path))


def _snake_case(name: str) -> str:
    return _CAPITAL.sub(lambda capital: "_" + capital[0].lower(), name)


def _json_names(node: Any) -> Any:
    if isinstance(node, dict):
        fields = cast("dict[str, Any]", node)
        return {_camel_case(str(name)): _json_names(value) for name, value in fields.items()}
    return [_json_names(item) for item in cast("list[Any]", node)] if isinstance(node, list) else node


def _camel_case(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)

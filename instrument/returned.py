"""Calls seen only in what an observed function returns or yields: no exchange could be watched (gRPC, websockets).

A returned dict or SDK object counts as a provider's response if it has the shape of one. It says nothing of the
request, the status or the tries. What a generator yields is one response: its events, or the object they are added to.

A response that the application kept looks like one that was just made: a response id counts once in a process.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry import context as otel_context

from .exchange import Exchange
from .facts import extract_matched
from .objects import is_message, is_object, to_json, wrapped_message
from .shapes import ResponseShapes, json_names
from .spans import as_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .context import Conversation
    from .documents import Registry
    from .facts import CallFacts

_REMEMBERED_IDS: Final = 10_000


class Returned:
    """What an observed function returned, or yielded, until the worker has read it.

    Args:
        results: the response, or what of a stream may be its events.
        conversation: what the application has said of the calls made there.
        started_ns: when the function began.
        ended_ns: when it had returned.
        first_ns: when it yielded for the first time; None if it is no generator.
        closed_early: whether it is a generator that was left before its end, or failed.
    """

    __slots__ = ("_results", "closed_early", "conversation", "ended_ns", "first_ns", "parent", "started_ns")

    def __init__(  # noqa: PLR0913  all that is known of such a call
        self,
        results: Sequence[object],
        conversation: Conversation,
        started_ns: int,
        ended_ns: int,
        *,
        first_ns: int | None = None,
        closed_early: bool = False,
    ) -> None:
        # A dict is the application's to go on with: its own fields are taken as they are now.
        self._results = [dict(cast("dict[Any, Any]", item)) if type(item) is dict else item for item in results]
        self.conversation, self.parent = conversation, otel_context.get_current()
        self.started_ns, self.ended_ns = started_ns, ended_ns
        self.first_ns, self.closed_early = first_ns, closed_early

    def take(self) -> list[object]:
        """Return the results and let go of them."""
        results, self._results = self._results, []
        return results


class ResponseReader:
    """Tells provider responses from other objects, and reads them by their surface.

    Args:
        registry: the provider documents.
    """

    def __init__(self, registry: Registry) -> None:
        self._shapes = ResponseShapes(registry)
        self._ids: dict[str, None] = {}

    def may_be_response(self, result: object, *, is_event: bool = False) -> bool:
        """Tell by the type and its names alone, without reading anything, whether ``result`` may be a response.

        Args:
            result: what a function returned or yielded.
            is_event: whether it was yielded, so that it may be an event around a response as well.
        """
        names, kind = self._shapes.event_names if is_event else self._shapes.usage_names, type(result)
        if kind is dict:
            return not names.isdisjoint(cast("dict[Any, Any]", result))
        if not is_object(result):
            return False
        own: Mapping[str, Any] = getattr(result, "__dict__", {})
        message = result if is_message(result) else wrapped_message(result)
        fields: Mapping[str, Any] = cast("Any", message).DESCRIPTOR.fields_by_name if message is not None else {}
        return any(name in own or name in fields or hasattr(kind, name) for name in names)

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
        documents = [to_json(item) for item in returned.take()]
        match = self._shapes.recognised(documents)
        if match is None:
            # Python and protobuf spell with underscores what JSON spells in camel case.
            documents = json_names(documents)
            match = self._shapes.recognised(documents)
        if match is None:
            return None
        exchange = Exchange.build(
            method="",
            url="",
            request_body=None,
            response_body=as_json(documents if len(documents) > 1 else documents[0]).encode("utf-8", "replace"),
            started_ns=returned.started_ns,
            ended_ns=returned.ended_ns,
            first_chunk_ns=returned.first_ns,
            closed_early=returned.closed_early,
        )
        facts = extract_matched(exchange, match)
        is_stream = returned.first_ns is not None
        return facts and replace(facts, raw_metadata={"response": facts.raw_metadata["response"]}, is_stream=is_stream)

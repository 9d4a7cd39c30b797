"""Marking prefixes for the cache: the tools, the system prompt, and the latest messages that are not the model's.

The mark before the last one is where the request of the turn before ended: what that one wrote is read there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..messages import SYSTEM, role_of
from ..metadata import is_from_model
from ..paths import first
from .shaping import filled, merged, placed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..continuing import BreakpointRules, ContinuingRules
    from ..message_rules import MessageRules


def marked(
    arguments: Mapping[str, Any], rules: ContinuingRules, of_messages: MessageRules, ttl: str | None
) -> dict[str, Any]:
    """Return a request's arguments with breakpoints, as many as the provider takes; nothing given is changed."""
    of_marks = rules.breakpoint
    if of_marks is None:
        return dict(arguments)
    marker = _Marker(of_marks, ttl)
    result = dict(arguments)
    if "tools" in of_marks.places and of_marks.tools:
        result = marker.list_at(result, of_marks.tools)
    if "system" in of_marks.places and rules.system_argument:
        result = marker.list_at(result, rules.system_argument)
    messages: list[Any] = list(result.get(rules.messages) or ())
    if "system" in of_marks.places and messages and role_of(messages[0], of_messages) == SYSTEM:
        messages[0] = marker.message(messages[0])
    if "messages" in of_marks.places:
        for index in _ends_of_requests(messages, of_messages):
            messages[index] = marker.message(messages[index])
    return {**result, rules.messages: messages}


def _ends_of_requests(messages: Sequence[Any], of_messages: MessageRules) -> list[int]:
    """Return where this request ends, and where the one before did: before what the model wrote last."""
    answers = [index for index, message in enumerate(messages) if is_from_model(message, of_messages)]
    last = len(messages) - 1
    while answers and answers[-1] == last:  # nothing new: the model goes on with its own words
        last = answers.pop() - 1
    before = answers[-1] - 1 if answers else -1
    while before in answers:
        before -= 1
    return [index for index in (last, before) if index >= 0]


class _Marker:
    """Lays marks until there are as many as the provider takes."""

    def __init__(self, rules: BreakpointRules, ttl: str | None) -> None:
        self._rules = rules
        self.left = rules.most
        mark = dict(rules.mark or rules.part or {})
        self._mark = merged(mark, placed(rules.ttl, ttl)) if ttl and rules.ttl else mark

    def message(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return a message with a mark behind its last part; the same one where it has none that can be marked."""
        for key in self._rules.at:
            parts = self._parts(message.get(key))
            if parts is not message.get(key):
                return {**message, key: parts}
        return message

    def list_at(self, arguments: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        """Return arguments with a mark behind the last part of what stands at a path."""
        value = first(arguments, path)
        parts = self._parts(value)
        return arguments if parts is value else merged(arguments, placed(path, parts))

    def _parts(self, value: Any) -> Any:
        parts: list[Any] = []
        if isinstance(value, str) and value and self._rules.text_part is not None:
            parts = [filled(self._rules.text_part, value)]
        elif isinstance(value, list):
            parts = list(cast("list[Any]", value))
        if not parts:
            return cast("Any", value)
        if not self.left or not isinstance(parts[-1], dict) or self._is_marked(parts[-1]):
            return cast("Any", value)
        self.left -= 1
        if self._rules.part is not None:
            return [*parts, self._mark]
        return [*parts[:-1], {**cast("dict[str, Any]", parts[-1]), **self._mark}]

    def _is_marked(self, part: Any) -> bool:
        return not self._mark.keys().isdisjoint(part)

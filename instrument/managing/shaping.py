"""Messages on their way in and out: what an application says and a provider answers, as the surface's SDK takes it."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import orjson

from ..continuing import TEXT
from ..metadata import is_from_model
from ..objects import to_json
from ..paths import find, first

if TYPE_CHECKING:
    from ..continuing import ContinuingRules
    from ..paths import Path
    from ..surfaces import Surface
    from .history import Message


def filled(template: Any, text: str) -> Any:
    """Return a document's template with a text in it."""
    if isinstance(template, Mapping):
        return {key: filled(value, text) for key, value in cast("Mapping[str, Any]", template).items()}
    if isinstance(template, list):
        return [filled(item, text) for item in cast("list[Any]", template)]
    return text if template == TEXT else template


def said(value: Any, template: Any) -> list[Message]:
    """Return what an application says as messages: a text in the template, or messages in the SDK's own shape.

    Raises:
        TypeError: if it is none of these.
    """
    if isinstance(value, str):
        return [filled(template, value)]
    items = cast("Sequence[Any]", value) if isinstance(value, list | tuple) else [value]
    messages = [to_json(item) for item in items]
    if not all(isinstance(message, dict) for message in messages):
        raise TypeError("a message is a text, a dict or an object of the SDK, or a list of those")
    return messages


def answered(document: Any, surface: Surface) -> list[Message]:
    """Return the messages of a response that are sent back with the next request, none where it has none."""
    rules, of_messages = surface.continuing, surface.messages
    for path in ((), *surface.stream.unwrap):
        for response in find(document, path):
            found = [item for whole in of_messages.whole for item in find(response, whole)]
            found = found or _first_answer(response, surface)
            if found:
                return [_sent_back(item, rules) for item in found]
    return [_sent_back(document, rules)] if is_from_model(document, of_messages) else []


def _first_answer(response: Any, surface: Surface) -> list[Any]:
    """Return the message of the first choice."""
    for path in surface.messages.choices:
        for choice in find(response, path):
            for inner in surface.messages.answer:
                message = first(choice, inner)
                if isinstance(message, dict) and surface.messages.role[0] in message:
                    return [cast("Any", message)]
            break
    return []


def _sent_back(message: Mapping[str, Any], rules: ContinuingRules) -> Message:
    keys = rules.answer_keys
    kept = {key: value for key, value in message.items() if value is not None and (not keys or key in keys)}
    return _without_keys(kept, rules.sdk_keys) if rules.sdk_keys else kept


def _without_keys(node: Any, keys: frozenset[str]) -> Any:
    if isinstance(node, dict):
        fields = cast("dict[str, Any]", node)
        return {key: _without_keys(value, keys) for key, value in fields.items() if key not in keys}
    if isinstance(node, list):
        return [_without_keys(item, keys) for item in cast("list[Any]", node)]
    return node


def without_stale(messages: Sequence[Message], rules: ContinuingRules) -> list[Message]:
    """Return messages without what refers to something that only the provider's state had."""
    return [
        {key: value for key, value in message.items() if key not in rules.stale_keys}
        for message in messages
        if not any(True for path in rules.stale for _ in find(message, path))
    ]


def asks_tools(messages: Sequence[Message], rules: ContinuingRules) -> bool:
    """Tell whether there is a call of the application's tools among the messages."""
    return any(value for message in messages for path in rules.calls for value in find(message, path))


def outgoing(messages: Sequence[Message], rules: ContinuingRules) -> list[Message]:
    """Return messages as the SDK takes them: bytes where it wants bytes, neighbours of one role joined if need be."""
    taken = list(messages)
    for path in rules.bytes:
        taken = [_changed(message, path, _decoded) for message in taken]
    return _alternating(taken, rules.alternate) if rules.alternate else taken


def _alternating(messages: Sequence[Message], content: str) -> list[Message]:
    joined: list[Message] = []
    for message in messages:
        before = joined[-1] if joined else {}
        parts, more = before.get(content), message.get(content)
        if isinstance(parts, list) and isinstance(more, list) and before.get("role") == message.get("role"):
            joined[-1] = {**before, content: [*cast("list[Any]", parts), *cast("list[Any]", more)]}
        else:
            joined.append(message)
    return joined


def _changed(node: Any, path: Path, change: Callable[[Any], Any]) -> Any:
    """Return a copy of ``node`` with the values at ``path`` changed."""
    if not path:
        return change(node)
    if path[0] == "[]" and isinstance(node, list):
        return [_changed(item, path[1:], change) for item in cast("list[Any]", node)]
    if isinstance(node, dict) and path[0] in node:
        fields = cast("dict[str, Any]", node)
        return {**fields, path[0]: _changed(fields[path[0]], path[1:], change)}
    return cast("Any", node)


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:  # SDKs write both alphabets of base64, with or without its padding
        plain = value.translate(str.maketrans("-_", "+/")).rstrip("=")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return value


def merged(ours: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return our arguments with the application's own laid into them; its own win."""
    result = dict(ours)
    for key, value in own.items():
        below = result.get(key)
        result[key] = _joined(cast("dict[str, Any]", below), value) if isinstance(below, dict) else value
    return result


def _joined(below: dict[str, Any], value: Any) -> Any:
    """Return an argument of the application's with what we have below it: a dict, or an SDK's object of options."""
    if isinstance(value, dict):
        return merged(below, cast("dict[str, Any]", value))
    copy = getattr(value, "model_copy", None)
    if copy is None:
        return value
    return copy(update={key: item for key, item in below.items() if getattr(value, key, None) is None})


def placed(path: Path, value: Any) -> dict[str, Any]:
    """Return arguments that have a value at a path of names."""
    for step in reversed(path):
        value = {step: value}
    return value


def digest(messages: Sequence[Message]) -> str:
    """Return what tells whether these are the messages something was about."""
    return hashlib.blake2b(orjson.dumps(messages, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()

"""Raw metadata of an exchange: request, response and headers, every content-bearing string replaced by its size.

A stream is kept as its distinct shapes: the first event of each shape with how many like it came, and the last event.
What is stored for a request grows with its new messages, not with the length of the conversation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from .redact import MAX_DEPTH, ContentRules, looks_like_identifier, skeleton

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .exchange import Exchange, Headers
    from .message_rules import MessageRules
    from .wire import Body

MAX_SHAPES: Final = 64
_MAX_HEADER: Final = 1024


def raw_metadata(exchange: Exchange, request: Any, body: Body, rules: ContentRules) -> dict[str, Any]:
    """Return the content-free record of an exchange; ``request`` is its JSON body without earlier messages."""
    record: dict[str, Any] = {
        "method": exchange.method,
        "url": exchange.url,
        "status_code": exchange.status_code,
        "request": skeleton(request, rules),
        "request_headers": _headers(exchange.request_headers, rules),
        "response": _stream(body, rules) if body.is_stream else skeleton(next(iter(body.documents), None), rules),
        "response_headers": _headers(exchange.response_headers, rules),
    }
    if exchange.request_body is None:
        record["request_unread"] = True
    if body.malformed:
        record["malformed_events"] = body.malformed
    if exchange.body_cut:
        record["body_cut"] = True
    if not body.documents and exchange.response_body:
        record["response_bytes"] = len(exchange.response_body)
    return record


def _headers(headers: Headers, rules: ContentRules) -> dict[str, str]:
    # Searched a little further than is kept: what a secret begins with is none of its own. Not to the end: patterns can
    # take quadratic time.
    return {
        name: "<redacted>" if rules.secret_pattern.search(value[: 2 * _MAX_HEADER]) else value[:_MAX_HEADER]
        for name, value in headers
    }


def _stream(body: Body, rules: ContentRules) -> dict[str, Any]:
    firsts: dict[Any, dict[str, Any]] = {}
    for index, document in enumerate(body.documents):
        shape = _shape(document)
        known = firsts.get(shape)
        if known is not None:
            known["count"] += 1
        elif len(firsts) < MAX_SHAPES:
            name = body.event_names[index] if index < len(body.event_names) else ""
            entry: dict[str, Any] = {"count": 1, "data": skeleton(document, rules)}
            if name and looks_like_identifier(name):
                entry["event"] = name
            firsts[shape] = entry
    last = skeleton(body.documents[-1], rules) if body.documents else None
    return {"events": len(body.documents), "shapes": list(firsts.values()), "last": last, "ended": body.ended}


def _shape(node: Any, depth: int = 0) -> Any:
    """Return something equal for events that differ in their values only (enum-like ``type`` and ``object`` count)."""
    if isinstance(node, dict) and depth < MAX_DEPTH:
        fields = cast("dict[str, Any]", node)
        return tuple(
            (key, value if key in ("type", "object") and isinstance(value, str) else _shape(value, depth + 1))
            for key, value in fields.items()
        )
    if isinstance(node, list) and node and depth < MAX_DEPTH:
        return ("[]", _shape(cast("list[Any]", node)[0], depth + 1))
    return type(cast("object", node)).__name__


def without_earlier_messages(request: Any, rules: MessageRules) -> tuple[Any, list[Any]]:
    """Return the request with only its new messages (those after the model's last), and all of its messages.

    What an earlier call already sent stands in that call's record; repeating it would make storage quadratic.
    """
    if not isinstance(request, dict):
        return request, []
    fields = cast("Mapping[str, Any]", request)
    for path in rules.at:
        messages = fields.get(path[0]) if len(path) == 1 else None
        if isinstance(messages, str):
            return fields, [messages]
        if isinstance(messages, list) and messages:
            items = cast("list[Any]", messages)
            new = _new_messages(items, rules)
            if len(new) == len(items):
                return fields, items
            marked = [f"<{len(items) - len(new)} earlier>", *new]
            return {**fields, path[0]: marked}, items
    return fields, []


def _new_messages(messages: Sequence[Any], rules: MessageRules) -> list[Any]:
    for index in range(len(messages) - 1, -1, -1):
        if is_from_model(messages[index], rules):
            return list(messages[index + 1 :])
    return list(messages)


def is_from_model(message: Any, rules: MessageRules) -> bool:
    """Tell whether a message was written by the model (and so was seen in an earlier response)."""
    if not isinstance(message, dict):
        return False
    fields = cast("dict[str, Any]", message)
    role = fields.get(rules.role[0])
    return is_one_of(role, rules.model_roles) or (role is None and is_one_of(fields.get("type"), rules.model_types))


def is_one_of(value: Any, names: frozenset[str]) -> bool:
    """Tell whether a value of any JSON type is one of the names."""
    return isinstance(value, str) and value in names

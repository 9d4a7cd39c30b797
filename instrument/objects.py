"""The objects of SDKs as the JSON documents they were made of, told by what they can do and not by whose they are.

Pydantic models, protobuf messages (and what wraps one), dataclasses, named tuples, plain objects. Nothing is imported
for that: what an object cannot say of itself is not known of it.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, cast
from uuid import UUID

from .redact import MAX_DEPTH

_TOO_DEEP: Final = "<nested too deeply>"
_TOO_MUCH: Final = "<too much>"
_MOST_VALUES: Final = 200_000
"""Values read of one object: a response has some hundreds, an application's own objects may lead anywhere."""

_WRAPPED: Final = ("proto", "_proto", "_pb")
"""Where clients for gRPC keep the message that an object of theirs stands for."""

_WIRE: Final[Mapping[str, Any]] = {"by_alias": True, "exclude_unset": True, "warnings": False}
"""The names of the wire, not of Python, and only what came: that is what the documents speak of."""


def is_message(value: object) -> bool:
    """Tell whether a value is a protobuf message."""
    kind = type(value)
    return hasattr(kind, "DESCRIPTOR") and callable(getattr(kind, "ListFields", None))


def wrapped_message(value: object) -> object:
    """Return the protobuf message that an object of a gRPC client stands for, None if it stands for none."""
    return next(filter(is_message, (getattr(value, name, None) for name in _WRAPPED)), None)


def is_object(value: object) -> bool:
    """Tell by the type alone whether a value may be an SDK's response object."""
    kind = type(value)
    names = ("model_dump", "to_dict", "DESCRIPTOR", "__dataclass_fields__", *_WRAPPED)
    return any(hasattr(kind, name) for name in names) or any(name in _own(value) for name in _WRAPPED)


def to_json(value: object) -> Any:
    """Return a value as JSON has it: objects by the names of the wire.

    Raises:
        TypeError: if its type does not say what it holds.
    """
    plain = _Walk().plain(value, 0)
    if plain is None and value is not None:
        raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} does not say what it holds")
    return plain


class _Walk:
    """One way through an object. What refers to itself, is too deep or too much has a mark in its place."""

    __slots__ = ("_inside", "_left")

    def __init__(self) -> None:
        self._inside: set[int] = set()
        self._left = _MOST_VALUES

    def plain(self, node: object, depth: int) -> Any:
        """Return a value as JSON has it, None if its type does not say what it holds."""
        self._left -= 1
        if isinstance(node, Enum):
            node = node.value
        if node is None or isinstance(node, str | int | float):
            return cast("Any", node)
        if self._left < 0:
            return _TOO_MUCH
        if depth > MAX_DEPTH or id(node) in self._inside:
            return _TOO_DEEP
        self._inside.add(id(node))
        try:
            return self._parts(node, depth)
        finally:
            self._inside.discard(id(node))

    def _parts(self, node: object, depth: int) -> Any:
        if isinstance(node, Mapping):
            fields = cast("Mapping[Any, Any]", node)
            return {str(name): self.plain(item, depth + 1) for name, item in fields.items()}
        if _is_list(node):
            return [self.plain(item, depth + 1) for item in cast("list[Any]", node)]
        scalar = _scalar(node)
        if scalar is not None:
            return scalar
        inner = _fields(node, depth)
        return None if inner is None else self.plain(inner, depth + 1)


def _is_list(node: object) -> bool:
    return not hasattr(type(node), "_fields") and isinstance(node, list | tuple | set | frozenset)  # these have names


def _scalar(node: object) -> Any:
    if isinstance(node, bytes | bytearray):
        return base64.b64encode(node).decode()
    if isinstance(node, date | time):
        return node.isoformat()
    return str(node) if isinstance(node, Decimal | UUID | timedelta) else None


def _fields(node: object, depth: int) -> Any:
    """Return what an object holds, None if its type does not say."""
    if isinstance(node, type):
        return None
    if callable(getattr(node, "model_dump", None)):
        return _dumped(cast("Any", node))
    message = node if is_message(node) else wrapped_message(node)
    if message is not None:
        return _message(cast("Any", message), depth)
    if dataclasses.is_dataclass(node):
        return {field.name: getattr(node, field.name, None) for field in dataclasses.fields(node)}
    for name in ("to_dict", "_asdict"):
        method: Callable[[], Any] | None = getattr(node, name, None)
        if callable(method):
            return method()
    if hasattr(type(node), "__fields__") and callable(getattr(node, "dict", None)):  # older pydantic models
        return cast("Any", node).dict(by_alias=True, exclude_unset=True)
    return {name: item for name, item in _own(node).items() if not (name.startswith("_") or callable(item))} or None


def _own(node: object) -> Mapping[str, Any]:
    return getattr(node, "__dict__", {})


def _dumped(model: Any) -> Any:
    try:
        return model.model_dump(mode="json", **_WIRE)
    except Exception:  # noqa: BLE001  what pydantic cannot write as JSON, such as a parsed answer of any class
        return model.model_dump(**_WIRE)


def _message(message: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return _TOO_DEEP
    if callable(getattr(message, "ToJsonString", None)):  # times and durations
        return message.ToJsonString()
    found: dict[str, Any] = {field.name: _value(field, value, depth) for field, value in message.ListFields()}
    for field in message.DESCRIPTOR.fields:
        # A number without presence that is not on the wire is 0: this is how 0 is sent.
        if field.name not in found and not field.has_presence and not _is_repeated(field) and _is_number(field):
            found[field.name] = field.default_value
    return found


def _value(field: Any, value: Any, depth: int) -> Any:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        values = {str(key): value[key] for key in value}
        kind = kind.fields_by_name["value"].message_type
        return {key: item if kind is None else _message(item, depth + 1) for key, item in values.items()}
    if _is_repeated(field):
        return [_single(field, item, depth) for item in value]
    return _single(field, value, depth)


def _single(field: Any, value: Any, depth: int) -> Any:
    if field.message_type is not None:
        return _message(value, depth + 1)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return value


def _is_repeated(field: Any) -> bool:
    said = getattr(field, "is_repeated", None)
    return bool(said) if said is not None else field.label == field.LABEL_REPEATED


def _is_number(field: Any) -> bool:
    return field.enum_type is None and type(field.default_value) in (int, float)

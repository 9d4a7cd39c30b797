"""The types of SDKs taken apart: every path that a response of a type can have, spelled as on the wire."""

from __future__ import annotations

import dataclasses
import importlib
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Union, get_args, get_origin, is_typeddict

from pydantic import BaseModel

_DEPTH = 9
_ID = re.compile(r"^(id|ids|uuid)$|_ids?$")
_FIGURE = re.compile(r"(^|_)usage$|(^|_)tokens?($|_)|(^|_)costs?($|_)|^credits$|_units$|_ticks$")
_CAPITAL = re.compile(r"(?<=[a-z0-9])[A-Z]")
_WRAPPERS = {Annotated, typing.Required, typing.NotRequired, typing.ClassVar, typing.Final}

Steps = tuple[str, ...]


@dataclass
class Node:
    """A place in a response: its parts by name, ``[]`` for the elements of a list, ``*`` for any name.

    ``kinds`` are the plain types a value there can have; ``is_open`` says that anything may stand below.
    """

    parts: dict[str, Node] = field(default_factory=dict)
    kinds: set[type] = field(default_factory=set)
    is_open: bool = False

    def part(self, name: str) -> Node:
        """Return the part of a name, made if there is none."""
        return self.parts.setdefault(name, Node())

    def at(self, steps: Steps) -> Iterator[Node]:
        """Yield the places at a path; a filter fits an object and the elements of a list."""
        if not steps:
            yield self
        elif self.is_open and not self.parts:
            yield Node(is_open=True)
        elif steps[0] == "*":
            for part in self.parts.values():
                yield from part.at(steps[1:])
        elif steps[0].startswith("[") and steps[0] != "[]":
            yield from self.at(steps[1:])
            yield from self.parts["[]"].at(steps[1:]) if "[]" in self.parts else ()
        else:
            for name in (steps[0], "*"):
                yield from self.parts[name].at(steps[1:]) if name in self.parts else ()

    def leaves(self, path: Steps = ()) -> Iterator[tuple[Steps, Node]]:
        """Yield every place that holds a plain value, with its path."""
        if self.kinds:
            yield path, self
        for name, part in self.parts.items():
            yield from part.leaves((*path, name))


def tree(names: Iterable[str]) -> Node:
    """Return all that responses of the named types (``package.module:Type``) can hold, laid over each other."""
    root = Node()
    for name in names:
        module, _, kind = name.partition(":")
        _grow(root, getattr(importlib.import_module(module), kind), ())
    return root


def is_id(path: Steps, node: Node) -> bool:
    """Tell whether a place looks like an identifier: by its name, and a text by its type."""
    return bool(str in node.kinds and _ID.search(_snake(_name(path))))


def is_figure(path: Steps, node: Node) -> bool:
    """Tell whether a place looks like usage: by its name, and a number by its type."""
    return bool(node.kinds & {int, float} and _FIGURE.search(_snake(_name(path))))


def _name(path: Steps) -> str:
    return next((step for step in reversed(path) if step not in ("[]", "*")), "")


def _snake(name: str) -> str:
    return _CAPITAL.sub(lambda capital: "_" + capital[0].lower(), name).lower()


def _grow(node: Node, kind: Any, above: tuple[Any, ...]) -> None:
    """Add to a place what a type can hold there."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in _WRAPPERS:
        _grow(node, arguments[0], above)
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            _grow(node, argument, above)
    elif origin is typing.Literal:
        node.kinds.update(type(value) for value in arguments)
    elif isinstance(origin, type) and issubclass(origin, Iterable):
        name, inner = ("*", arguments[-1:]) if issubclass(origin, Mapping) else ("[]", arguments[:1])
        _grow(node.part(name), *(inner or (Any,)), above)
    elif kind in (dict, list, Any, object) or not isinstance(kind, type):
        node.is_open = True
    elif (fields := _fields(kind)) is None:
        node.kinds.add(next((plain for plain in (bool, int, float, str) if issubclass(kind, plain)), kind))
    elif kind not in above and len(above) < _DEPTH:
        for name, inner in fields:
            _grow(node.part(name), inner, (*above, kind))


def _fields(kind: type) -> list[tuple[str, Any]] | None:
    """Return the fields of a type by their names on the wire, None if it has none."""
    if issubclass(kind, BaseModel):
        return [(_alias(name, found), _annotation(found)) for name, found in kind.model_fields.items()]
    if is_typeddict(kind):
        return list(typing.get_type_hints(kind, include_extras=True).items())
    if dataclasses.is_dataclass(kind):
        return list(typing.get_type_hints(kind).items())
    if (descriptor := getattr(kind, "DESCRIPTOR", None)) is not None:
        return [(found.name, _protobuf(found)) for found in descriptor.fields]
    return None


def _alias(name: str, found: Any) -> str:
    """Return the name on the wire: pydantic's alias, or one that an SDK notes beside the type."""
    noted = next((note.alias for note in found.metadata if getattr(note, "alias", None)), None)
    return found.serialization_alias or found.alias or noted or name


def _annotation(found: Any) -> Any:
    return found.annotation


def _protobuf(found: Any) -> Any:
    """Return the type of a protobuf field as Python would write it."""
    message = found.message_type
    if message is not None and message.GetOptions().map_entry:
        return dict[str, _protobuf(message.fields_by_name["value"])]
    if message is not None:
        from google.protobuf import message_factory  # noqa: PLC0415  only where protobuf is looked at

        inner: Any = message_factory.GetMessageClass(message)
    else:
        inner = {found.CPPTYPE_STRING: str, found.CPPTYPE_BOOL: bool, found.CPPTYPE_ENUM: str}.get(found.cpp_type, int)
        if found.cpp_type in (found.CPPTYPE_FLOAT, found.CPPTYPE_DOUBLE):
            inner = float
    return list[inner] if found.is_repeated else inner

"""Where requests and answers hold messages, and what of a message counts: ``[surface.messages]`` of a document."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import paths

if TYPE_CHECKING:
    from .frontmatter import Table
    from .paths import Path


@dataclass(frozen=True, slots=True)
class MessageRules:
    """Paths to messages and into them; which of them are a model's, a tool's or the system's.

    ``at`` and ``history`` lead into the request, ``choices`` into the response, ``answer`` into a choice, ``parts`` and
    ``tool_paths`` into a message, ``text``, ``call_name`` and ``call_arguments`` into a part. ``cache_mark`` finds in a
    request's JSON text what tells the provider to cache.
    """

    at: tuple[Path, ...] = ()
    history: tuple[Path, ...] = ()
    role: Path = ("role",)
    model_roles: frozenset[str] = frozenset({"assistant", "model"})
    model_types: frozenset[str] = frozenset()
    system_roles: frozenset[str] = frozenset({"system", "developer"})
    tool_roles: frozenset[str] = frozenset({"tool", "function"})
    tool_paths: tuple[Path, ...] = ()
    tool_types: frozenset[str] = frozenset()
    parts: tuple[Path, ...] = ()
    text: tuple[Path, ...] = ()
    call_name: tuple[Path, ...] = ()
    call_arguments: tuple[Path, ...] = ()
    left_out: tuple[Path, ...] = ()
    marks: frozenset[str] = frozenset()
    cache_mark: re.Pattern[bytes] | None = None
    system: tuple[Path, ...] = ()
    tools: tuple[Path, ...] = ()
    choices: tuple[Path, ...] = ()
    answer: tuple[Path, ...] = ()
    whole: tuple[Path, ...] = ()
    has_content: bool = False
    """Whether a message can be nothing but a role and a text: ``content`` is a part, ``role`` its writer."""


def read_paths(table: Table, name: str) -> tuple[Path, ...]:
    """Return the paths under a key of a document's table.

    Raises:
        DocumentError: if one is none.
    """
    return tuple(table.parsed(name, paths.parse, text, "a path") for text in table.texts(name))


def _key_pattern(names: tuple[str, ...]) -> re.Pattern[bytes] | None:
    """Return what finds one of the keys in JSON text; in the text of a message its quotes are escaped."""
    words = b"|".join(re.escape(name.encode()) for name in names)
    return re.compile(rb'"(?:' + words + rb')"\s*:') if names else None


def message_rules(table: Table) -> MessageRules:
    """Return the rules of a ``[surface.messages]`` table.

    Raises:
        DocumentError: if a key is unknown or cannot be read.
    """
    defaults = MessageRules()
    roles, parts = read_paths(table, "role"), read_paths(table, "parts")
    rules = MessageRules(
        at=read_paths(table, "at"),
        history=read_paths(table, "history"),
        role=roles[0] if roles else defaults.role,
        model_roles=frozenset(table.texts("model_roles", tuple(defaults.model_roles))),
        model_types=frozenset(table.texts("model_types")),
        system_roles=frozenset(table.texts("system_roles", tuple(defaults.system_roles))),
        tool_roles=frozenset(table.texts("tool_roles", tuple(defaults.tool_roles))),
        tool_paths=read_paths(table, "tool_paths"),
        tool_types=frozenset(table.texts("tool_types")),
        parts=parts,
        text=read_paths(table, "text"),
        call_name=read_paths(table, "call_name"),
        call_arguments=read_paths(table, "call_arguments"),
        left_out=read_paths(table, "left_out"),
        marks=frozenset((*table.texts("marks"), *table.texts("cache_marks"))),
        cache_mark=_key_pattern(table.texts("cache_marks")),
        system=read_paths(table, "system"),
        tools=read_paths(table, "tools"),
        choices=read_paths(table, "choices"),
        answer=read_paths(table, "answer"),
        whole=read_paths(table, "whole"),
        has_content=("content",) in parts and not roles,
    )
    table.finish()
    return rules

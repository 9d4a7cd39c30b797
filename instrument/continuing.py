"""How a conversation is carried on at a surface: ``[surface.continuing]`` of a document.

What an application sends to go on: the names of the SDK's arguments, how messages look that it writes, what of an
answer is sent back, and what stands for a state that the provider keeps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from . import paths
from .message_rules import read_paths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .frontmatter import Table
    from .paths import Path

TEXT: Final = "<text>"
"""Stands in a template where the text goes."""
_PLACES: Final = ("tools", "system", "messages")


@dataclass(frozen=True, slots=True)
class BreakpointRules:
    """How a prefix is marked for the cache: ``mark`` is laid over the last part, or ``part`` is put behind it."""

    places: frozenset[str] = frozenset()
    at: tuple[str, ...] = ()
    mark: Mapping[str, Any] | None = None
    part: Mapping[str, Any] | None = None
    text_part: Any = None
    tools: Path = ()
    ttl: Path = ()
    most: int = 0


@dataclass(frozen=True, slots=True)
class ContinuingRules:
    """The arguments and shapes of a conversation that goes on; a surface without ``messages`` holds none."""

    messages: str = ""
    user: Any = None
    assistant: Any = None
    system_message: Any = None
    system_argument: Path = ()
    system_value: Any = TEXT
    answer_keys: frozenset[str] = frozenset()
    sdk_keys: frozenset[str] = frozenset()
    bytes: tuple[Path, ...] = ()
    alternate: str = ""
    calls: tuple[Path, ...] = ()
    state: Mapping[str, Path] | None = None
    state_keeps_system: bool = False
    expired_status: frozenset[int] = frozenset()
    expired_codes: frozenset[str] = frozenset()
    stale: tuple[Path, ...] = ()
    stale_keys: frozenset[str] = frozenset()
    breakpoint: BreakpointRules | None = None


def continuing_rules(table: Table) -> ContinuingRules:
    """Return the rules of a ``[surface.continuing]`` table.

    Raises:
        DocumentError: if a key is unknown, or cannot be read.
    """
    state, expired = table.table("state"), table.texts("expired")
    messages = table.text("messages", "")
    rules = ContinuingRules(
        messages=messages,
        user=_template(table, "user", required=bool(messages)),
        assistant=_template(table, "assistant", required=bool(messages)),
        system_message=_template(table, "system_message"),
        system_argument=_path(table, "system_argument"),
        system_value=_template(table, "system_value") or TEXT,
        answer_keys=frozenset(table.texts("answer_keys")),
        sdk_keys=frozenset(table.texts("sdk_keys")),
        bytes=read_paths(table, "bytes"),
        alternate=table.text("alternate", ""),
        calls=read_paths(table, "calls"),
        state={name: state.parsed(name, paths.parse, state.text(name), "a path") for name in state.values},
        state_keeps_system=table.flag("state_keeps_system", default=False),
        expired_status=frozenset(int(text) for text in expired if text.isdecimal()),
        expired_codes=frozenset(text for text in expired if not text.isdecimal()),
        stale=read_paths(table, "stale"),
        stale_keys=frozenset(table.texts("stale_keys")),
        breakpoint=_breakpoint(table.table("breakpoint")),
    )
    table.finish()
    return rules


def _breakpoint(table: Table) -> BreakpointRules | None:
    if not table.values:
        return None
    places = table.texts("places", None)
    if not set(places) <= set(_PLACES):
        raise table.fail("places", f"some of {', '.join(_PLACES)}")
    most = table.values.get("most")
    table.note("most")
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise table.fail("most", "how many breakpoints a request may have")
    mark, part = table.table("mark").values or None, table.table("part").values or None
    if (mark is None) == (part is None):
        raise table.fail("mark", "either 'mark', laid over a part, or 'part', put behind it")
    rules = BreakpointRules(
        places=frozenset(places),
        at=table.texts("at"),
        mark=mark,
        part=part,
        text_part=_template(table, "text_part"),
        tools=_path(table, "tools"),
        ttl=_path(table, "ttl"),
        most=most,
    )
    table.finish()
    return rules


def _path(table: Table, name: str) -> Path:
    text = table.text(name, "")
    path = table.parsed(name, paths.parse, text, "a path") if text else ()
    if any(re.match(r"\[|\*", step) for step in path):
        raise table.fail(name, "a path through names alone, such as 'config.system'")
    return path


def _template(table: Table, name: str, *, required: bool = False) -> Any:
    """Return a value of any shape with ``<text>`` somewhere in it; empty takes away what was inherited."""
    table.note(name)
    value = table.values.get(name)
    if (required or value) and TEXT not in str(value):
        raise table.fail(name, f"a value with {TEXT!r} where the text goes")
    return value or None

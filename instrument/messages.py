"""The canonical form of a message: what two requests have in common when they hold the same message.

SDKs reorder keys, add nulls, ids and cache marks, split and join text, and send an answer back in another form than it
came in. None of that makes a message another one. Where a message has its parts, texts and tool calls is said by the
provider document; the form itself is the same for every provider, so that a conversation can change its provider.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from .identifiers import is_identifier_key
from .metadata import is_from_model, is_one_of
from .paths import find
from .redact import MAX_DEPTH
from .wire import loads

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .message_rules import MessageRules

USER: Final = "user"
MODEL: Final = "assistant"
TOOL: Final = "tool"
SYSTEM: Final = "system"
_KINDS: Final = frozenset({"type", "name"})
"""Keys of a tool's result that say of what kind it is and which tool's, not what it was."""
_THOUGHTS: Final = re.compile(r"<think(ing)?>.*?</think(ing)?>", re.DOTALL)
"""Reasoning that an application sends back as text, to a model that has none of its own."""
_WITHOUT_QUOTES: Final = str.maketrans("", "", "'\"`\u2018\u2019\u201c\u201d\u00ab\u00bb")


@dataclass(slots=True)
class Canonical:
    """A message, or a run of them by the same writer: its texts, its tool calls, and its other parts as JSON values.

    What a model wrote is its text and its calls: reasoning and what a provider's own tools did are sent back by some
    applications and left out by others.
    """

    role: str
    texts: list[str] = field(default_factory=list[str])
    calls: list[list[Any]] = field(default_factory=list[list[Any]])
    others: list[Any] = field(default_factory=list[Any])
    count: int = 1
    call_is_open: bool = False
    """Whether the last piece belonged to a call, so that nameless arguments go on with it."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compare."""
        return not (self.texts or self.calls or self.others)

    @property
    def size(self) -> int:
        """Size in bytes of what was written: texts, tool calls and their results; media of a user are not in it."""
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in self.texts)
        size += sum(len(str(name)) + len(_arguments_text(arguments)) for name, arguments in self.calls)
        return size

    @property
    def media(self) -> int:
        """How many parts of a user's message are no text."""
        return len(self.others) if self.role == USER else 0

    def join(self, more: Canonical) -> None:
        """Take what the same writer went on with."""
        self.texts += more.texts
        self.calls += more.calls
        self.others += more.others
        self.count += more.count

    def content(self) -> bytes:
        """Return the bytes that are equal for equal messages."""
        text = "".join(self.texts)
        if self.role == MODEL and "<think" in text:
            text = _THOUGHTS.sub("", text)
        calls = [[name, _arguments(arguments)] for name, arguments in self.calls]
        return _dumped([self.role, _squeezed(text), calls, self.others])


def canonical(message: Any, rules: MessageRules) -> Canonical | None:
    """Return the canonical form of a request's message, None where it is none of anybody's (reasoning sent back)."""
    if isinstance(message, str):
        return Canonical(USER, [message])
    if not isinstance(message, dict):
        return Canonical(USER, others=[_plain(message, rules)])
    fields = cast("dict[str, Any]", message)
    content = fields.get("content")
    if isinstance(content, str) and rules.has_content and len(fields) == 2 and "role" in fields:  # noqa: PLR2004
        return Canonical(role_of(fields, rules), [content])  # most messages are these: no path has to be followed
    if _is_left_out(message, rules):
        return None
    role = role_of(fields, rules)
    found = Canonical(role)
    read_parts(found, message, rules)
    return found


def role_of(message: dict[str, Any], rules: MessageRules) -> str:
    """Return who wrote a message: ``system``, ``assistant``, ``tool`` (a tool's result) or ``user``."""
    if is_from_model(message, rules):
        return MODEL
    if is_one_of(message.get(rules.role[0]), rules.system_roles):
        return SYSTEM
    return TOOL if is_tool_result(message, rules) else USER


def is_tool_result(message: Any, rules: MessageRules) -> bool:
    """Tell whether a message holds a tool's result, so that a request that ends with it goes on with its turn."""
    if not isinstance(message, dict):
        return False
    fields = cast("dict[str, Any]", message)
    if is_one_of(fields.get(rules.role[0]), rules.tool_roles) or is_one_of(fields.get("type"), rules.tool_types):
        return True
    return any(
        value in rules.tool_types if isinstance(value, str) else bool(value)
        for path in rules.tool_paths
        for value in find(message, path)
    )


def read_parts(into: Canonical, message: Any, rules: MessageRules) -> None:
    """Add the parts of a message, or of a piece of a streamed one, in order."""
    for part in _parts(message, rules):
        if into.role == TOOL:
            into.texts.append(_said(part, rules))
        elif isinstance(part, str):
            into.texts.append(part)
        elif isinstance(part, dict) and not _is_left_out(part, rules):
            _read_part(into, part, rules)


def _parts(message: Any, rules: MessageRules) -> Iterable[Any]:
    for path in rules.parts:
        for value in find(message, path):
            if value and not isinstance(value, list):  # a list's elements have a path of their own
                yield value


def _read_part(into: Canonical, part: Any, rules: MessageRules) -> None:
    names = [name for path in rules.call_name for name in find(part, path) if isinstance(name, str) and name]
    arguments = [value for path in rules.call_arguments for value in find(part, path) if value is not None]
    if names or (arguments and into.role == MODEL):
        _read_call(into, names, arguments)
        return
    into.call_is_open = False
    texts = [text for path in rules.text for text in find(part, path) if isinstance(text, str)]
    if texts:
        into.texts += texts
    elif into.role != MODEL and (rest := _plain(part, rules)):
        into.others.append(rest)


def _read_call(into: Canonical, names: Sequence[str], arguments: Sequence[Any]) -> None:
    """Add a tool call, or a piece of the one before: only the first piece of a streamed call has its name."""
    if names:
        into.calls.append([names[0], arguments[0] if arguments else None])
        into.call_is_open = True
    elif into.call_is_open:
        last = into.calls[-1]
        piece = arguments[0]
        last[1] = last[1] + piece if isinstance(last[1], str) and isinstance(piece, str) else piece


def _is_left_out(node: Any, rules: MessageRules) -> bool:
    return any(True for path in rules.left_out for _ in find(node, path))


def _arguments(value: Any) -> Any:
    """Return a call's arguments as plain JSON: some write them as text."""
    if isinstance(value, str):
        try:
            value = loads(value.encode("utf-8", "surrogatepass"))
        except ValueError:
            return _squeezed(value) or {}
    return _without_nulls(value, 0) or {}


def _arguments_text(value: Any) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else _dumped(value)


def _without_nulls(node: Any, depth: int) -> Any:
    if isinstance(node, dict) and depth < MAX_DEPTH:
        fields = cast("dict[str, Any]", node)
        return {key: _without_nulls(value, depth + 1) for key, value in fields.items() if value is not None}
    if isinstance(node, list) and depth < MAX_DEPTH:
        return [_without_nulls(item, depth + 1) for item in cast("list[Any]", node)]
    return cast("Any", node)


def _plain(node: Any, rules: MessageRules, depth: int = 0) -> Any:
    """Return a part without what does not make it another one: nulls, ids, cache marks; texts alone as one text."""
    if isinstance(node, dict) and depth < MAX_DEPTH:
        fields = cast("dict[str, Any]", node)
        if fields.keys() <= {"type", "text"} and isinstance(fields.get("text"), str):
            return _squeezed(fields["text"])
        return {
            key: kept
            for key, value in fields.items()
            if key not in rules.marks
            and not is_identifier_key(key)
            and (kept := _plain(value, rules, depth + 1)) not in (None, {}, [])
        }
    if isinstance(node, list) and depth < MAX_DEPTH:
        kept = [_plain(item, rules, depth + 1) for item in cast("list[Any]", node)]
        return "".join(kept) if kept and all(isinstance(item, str) for item in kept) else kept
    return _squeezed(node) if isinstance(node, str) else cast("Any", node)


def _said(result: Any, rules: MessageRules, depth: int = 0) -> str:
    """Return the texts and numbers of a tool's result, whatever they stand under: it comes in many shapes.

    One text or several, an object, JSON text: for each provider another.
    """
    if isinstance(result, str):
        if result[:1] not in ("{", "["):
            return result
        try:
            return _said(loads(result.encode("utf-8", "surrogatepass")), rules, depth + 1)
        except ValueError:
            return result
    if depth >= MAX_DEPTH or result is None or isinstance(result, bool):
        return ""
    if isinstance(result, dict):
        fields = sorted(cast("dict[str, Any]", result).items())
        kept = (value for key, value in fields if not (key in _KINDS or key in rules.marks or is_identifier_key(key)))
        return "".join(_said(value, rules, depth + 1) for value in kept)
    if isinstance(result, list):
        return "".join(_said(item, rules, depth + 1) for item in cast("list[Any]", result))
    return str(result)


def _squeezed(text: str) -> str:
    """Return a text without white space and quotes: it is trimmed, wrapped, joined and quoted in many ways."""
    return "".join(text.translate(_WITHOUT_QUOTES).split())


def _dumped(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONEncodeError, RecursionError):  # numbers beyond 64 bits, lone surrogates
        return repr(value).encode("utf-8", "backslashreplace")

"""An independent reading of recorded requests, by field names alone: who said what.

It knows nothing of the provider documents nor of the package, so that what it says can be compared with them. Texts are
compared without white space, tool calls by name and arguments; ids, nulls, cache marks and reasoning do not count.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Piece = tuple[Any, ...]
"""Who wrote something, and what: an assistant's whole run, one block of anybody else."""

ASSISTANTS = {"assistant", "model", "chatbot"}
SYSTEMS = {"system", "developer"}
ARGUMENTS = ("arguments", "args", "input", "parameters")
_REASONING = {"thinking", "redacted_thinking", "reasoning", "reasoningContent", "reasoning_content"}
_THOUGHTS = re.compile(r"<(think|thinking)>.*?</\1>", re.DOTALL)
"""Reasoning in the midst of a text: some answers have it, some clients write it so."""
_OPAQUE = {"item_reference", "compaction", "compaction_summary"}
_MARKS = {"cache_control", "cachePoint", "cache_point", "signature", "thoughtSignature", "thought_signature", "status"}
_NO_CHAT = re.compile(
    r"count|embed|input_tokens|compact|cachedContents|batch|threads|moderations|images|audio", re.IGNORECASE
)


@dataclass
class Run:
    """What an assistant said without a break: its texts, its tool calls by the key a stream gives them."""

    text: str = ""
    calls: dict[Any, list[Any]] = field(default_factory=dict)

    def call(self, name: str | None, arguments: Any, key: Any = None) -> None:
        """Add a call, or a piece of the one with this key."""
        known = self.calls.setdefault(len(self.calls) if key is None else key, ["", ""])
        known[0] = known[0] or name or ""
        both = isinstance(known[1], str) and isinstance(arguments, str)
        known[1] = known[1] + arguments if both else (arguments or known[1])

    def piece(self) -> Piece:
        """Return it in the form that is compared."""
        calls = tuple((name, plain_call(arguments)) for name, arguments in self.calls.values() if name)
        return ("assistant", _squeezed(_THOUGHTS.sub("", self.text)), calls)


def _squeezed(text: str) -> str:
    return "".join(text.split())


def plain_call(arguments: Any) -> str:
    """Return the arguments of a tool call as JSON, whether they came as text or not."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            return _squeezed(arguments)
    return json.dumps(plain(arguments, written=True) or {}, sort_keys=True)


def plain(node: Any, *, written: bool = False) -> Any:
    """Return a value without nulls, ids, marks and white space; what a model has written keeps all but nulls."""
    if isinstance(node, dict):
        kept = {key: plain(value, written=written) for key, value in node.items() if written or not _is_left_out(key)}
        return {key: value for key, value in kept.items() if value is not None}
    if isinstance(node, list):
        return [plain(item, written=written) for item in node]
    return _squeezed(node) if isinstance(node, str) and not written else node


def _is_left_out(key: str) -> bool:
    return key in _MARKS or bool(re.search(r"(^|_)id$|Id$", key))


def blocks(value: Any) -> list[Any]:
    """Return a content as a list, however it is written."""
    return [] if value is None or value == "" else list(value) if isinstance(value, list) else [value]


def speak(run: Run, message: Any) -> Run:
    """Add an assistant's message, in any provider's form, to what it said before."""
    if not isinstance(message, dict):
        run.text += str(message or "")
        return run
    for name in ("content", "parts", "message", "text", "refusal"):
        for block in blocks(message.get(name)):
            _speak_block(run, block)
    for call in [*blocks(message.get("tool_calls")), *blocks(message.get("function_call"))]:
        node = call.get("function") or call
        run.call(node.get("name"), first(node, ARGUMENTS))
    return run


def _speak_block(run: Run, block: Any) -> None:
    if not isinstance(block, dict):
        run.text += str(block)
        return
    kind = block.get("type") or ""
    if block.get("thought") or kind in _REASONING or _REASONING & block.keys():
        return
    call = first(block, ("toolUse", "functionCall", "function_call"))
    call = block if kind in {"tool_use", "function_call", "custom_tool_call"} else call
    cited = block.get("citationsContent")
    if isinstance(cited, dict):
        run.text += "".join(str(piece.get("text") or "") for piece in blocks(cited.get("content")))
    elif isinstance(call, dict) and call.get("name"):
        run.call(call["name"], first(call, ARGUMENTS))
    else:
        run.text += str(first(block, ("text", "refusal")) or "")


def first(node: dict[str, Any], names: tuple[str, ...]) -> Any:
    """Return the first of these fields that says something."""
    return next((node[name] for name in names if node.get(name) not in (None, "")), None)


def pieces(messages: list[Any]) -> list[Piece]:
    """Return what a request's messages say, in order; system messages, reasoning and hosted tools say nothing."""
    found: list[Piece] = []
    run = Run()
    for message in messages:
        who = writer(message)
        if who == "assistant":
            speak(run, {"content": [message]} if isinstance(message, dict) and is_item(message) else message)
        elif who:
            _end(run, found)
            run = Run()
            found += _blocks_of(message, who)
    _end(run, found)
    return found


def _end(run: Run, found: list[Piece]) -> None:
    if run.text.strip() or run.calls:
        found.append(run.piece())


def is_item(message: dict[str, Any]) -> bool:
    """Whether it is an item of a list that holds calls and messages side by side."""
    return "role" not in message and message.get("type") in {"function_call", "custom_tool_call"}


def writer(message: Any) -> str:
    """Return who wrote a message, nothing for what does not count."""
    if not isinstance(message, dict):
        return "user"
    role, kind = str(message.get("role") or "").lower(), str(message.get("type") or "")
    if role in SYSTEMS or kind in _REASONING or message.get("execution") == "server":
        return ""
    if role in ASSISTANTS or is_item(message) or (not role and kind == "message"):
        return "assistant"
    if kind.endswith(("_output", "_response")) or role in {"tool", "function"}:
        return "tool"
    if kind in _OPAQUE:
        return "opaque"
    return "" if kind.endswith(("_call", "_request", "_tools", "_search")) and not role else "user"


def _blocks_of(message: Any, who: str) -> Iterator[Piece]:
    if not isinstance(message, dict):
        yield who, _squeezed(str(message))
        return
    content = first(message, ("content", "parts", "message", "output", "text", "outputs", "tool_results"))
    for block in blocks(content if content is not None else message):
        said = plain(block["text"] if isinstance(block, dict) and isinstance(block.get("text"), str) else block)
        if said not in ("", {}):  # a mark alone says nothing
            yield who, said if isinstance(said, str) else json.dumps(said, sort_keys=True)


def request_messages(entry: dict[str, Any]) -> list[Any] | None:
    """Return the messages a call sent; None where the exchange is no chat call that went well."""
    asked = entry["request"]
    if asked["method"] != "POST" or not 200 <= (entry["response"]["status"] or 0) < 300:
        return None
    path = asked["url"].partition("?")[0].partition("://")[2].partition("/")[2]
    try:
        body = json.loads((asked.get("postData") or {}).get("text") or "null")
    except ValueError:
        return None
    if not isinstance(body, dict) or _NO_CHAT.search(path):
        return None
    if isinstance(body.get("message"), str):
        return [*(body.get("chat_history") or []), {"role": "user", "content": body["message"]}, *_results(body)]
    found = body.get("messages") or body.get("contents") or (path.endswith("responses") and body.get("input"))
    return blocks(found or None) or None


def _results(body: dict[str, Any]) -> list[Any]:
    return [{"role": "tool", "content": body["tool_results"]}] if body.get("tool_results") else []

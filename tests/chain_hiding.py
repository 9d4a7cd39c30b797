"""Copies of recordings that hold no identifier which could tie two exchanges: only their messages are left for that.

Identifiers get another value in every exchange, the same wherever they stand in it, so that a tool's result still names
its call. What refers to a provider's state is dropped. Binary streams stay as they are: their ids then name nothing.
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_HEADERS = re.compile(r"^(content-type|host|accept|anthropic-(version|beta)|x-amzn-bedrock-.*-count)$", re.IGNORECASE)
"""What is kept: none of these is another value in another conversation."""
_STATE = {
    *("previous_response_id", "previous_interaction_id", "conversation", "conversation_id", "conversationId"),
    *("session", "session_id", "sessionId", "thread_id", "threadId", "container", "prompt_cache_key", "user"),
    *("safety_identifier",),
}
_IDENTIFIERS = {
    *("id", "call_id", "tool_call_id", "tool_use_id", "toolUseId", "toolCallId", "item_id", "message_id"),
    *("response_id", "responseId", "request_id", "requestId", "generation_id", "trace_id", "run_id", "file_batch_id"),
    *("signature", "thoughtSignature", "thought_signature"),
}
_WRITTEN = {"arguments", "args", "parameters", "properties", "schema", "json_schema", "tools", "json", "metadata"}
"""Under these stands what a user or a model wrote, which makes a message another one."""


def write_hidden(paths: Iterable[Path], folder: Path) -> list[Path]:
    """Write copies of recordings, of the same names, without anything but messages to tie calls by.

    Recorded times are often unknown, and entries of a file not in order: in the copies one recording follows another,
    and one exchange of it the one before.
    """
    hars = {path: json.loads(gzip.decompress(path.read_bytes())) for path in paths}
    recordings: dict[str, int] = {}
    for har in hars.values():
        for entry in har["log"]["entries"]:
            recordings.setdefault(entry["_source"].rpartition("#")[0], len(recordings))
    folder.mkdir(parents=True, exist_ok=True)
    for path, har in hars.items():
        for entry in har["log"]["entries"]:
            recording, _, place = entry["_source"].rpartition("#")
            began = _BEGAN + timedelta(minutes=recordings[recording], seconds=int(place))
            entry |= {
                "startedDateTime": began.isoformat(),
                "time": 500,
                "timings": {"send": 0, "wait": 400, "receive": 100},
            }
        har["log"]["entries"].sort(key=lambda entry: entry["startedDateTime"])
        (folder / path.name).write_bytes(gzip.compress(json.dumps(hide_ids(har, path.name)).encode(), 1, mtime=0))
    return [folder / path.name for path in hars]


def hide_ids(har: dict[str, Any], name: str = "") -> dict[str, Any]:
    """Return a copy of a HAR without identifiers that stand in more than one of its exchanges."""
    hidden = copy.deepcopy(har)
    entries = hidden["log"]["entries"]
    for index, entry in enumerate(entries):
        salt = f"{name}#{index}"
        for side in (entry["request"], entry["response"]):
            side["headers"] = [header for header in side["headers"] if _HEADERS.match(header["name"])]
            side["cookies"] = []
        post, content = entry["request"].get("postData") or {}, entry["response"]["content"]
        if post.get("text"):
            post["text"] = _hidden_text(post["text"], salt, is_request=True)
        if content.get("text") and content.get("encoding") != "base64":
            content["text"] = _hidden_text(content["text"], salt, is_request=False)
    return hidden


def _hidden_text(text: str, salt: str, *, is_request: bool) -> str:
    """Return a body without identifiers: a JSON document, or one in each line of a stream."""
    try:
        document = json.loads(text)
    except ValueError:
        lines = text.splitlines(keepends=True)
        return "".join(_hidden_line(line, salt) for line in lines) if len(lines) > 1 else text
    if is_request and isinstance(document, dict):
        document.pop("metadata", None)
    return json.dumps(_hidden(document, salt), ensure_ascii=False)


def _hidden_line(line: str, salt: str) -> str:
    found = re.fullmatch(r"(data:\s*|)(\{.*\})(\s*)", line)
    if not found:
        return line
    try:
        document = json.loads(found[2])
    except ValueError:
        return line
    return found[1] + json.dumps(_hidden(document, salt), ensure_ascii=False) + found[3]


def _hidden(node: Any, salt: str) -> Any:
    if isinstance(node, list):
        return [_hidden(item, salt) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: _hidden_value(key, value, node, salt) for key, value in node.items() if key not in _STATE}


def _hidden_value(key: str, value: Any, holder: dict[str, Any], salt: str) -> Any:
    if key in _IDENTIFIERS and isinstance(value, str) and value:
        kind = re.match(r"[a-z]+[_-]|", value)
        return (kind[0] if kind else "") + hashlib.sha256(f"{salt} {value}".encode()).hexdigest()[:24]
    is_written = key in _WRITTEN or (key in {"input", "response"} and "name" in holder)
    return value if is_written else _hidden(value, salt)

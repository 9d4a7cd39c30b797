"""An independent reading of recorded responses, by field names alone: what was answered, whole or streamed."""

from __future__ import annotations

import base64
import json
import struct
from typing import TYPE_CHECKING, Any

from chain_reading import ARGUMENTS, Piece, Run, first, is_item, speak, writer

if TYPE_CHECKING:
    from collections.abc import Iterator


def has_failed(found: list[dict[str, Any]]) -> bool:
    """Tell whether a response, or a stream that had begun well, says that it failed."""
    nodes = [node for item in found for node in (item, item.get("response")) if isinstance(node, dict)]
    return any(isinstance(node.get("error"), dict) for node in nodes)


def documents(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the JSON documents of a response: one, one an event, one a line, or those of a binary event stream."""
    content = entry["response"]["content"]
    text = content.get("text") or ""
    if content.get("encoding") == "base64":
        found = list(_frames(base64.b64decode(text)))
    else:
        try:
            found = json.loads(text)
        except ValueError:
            lines = (line.removeprefix("data:").strip() for line in text.splitlines())
            found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    return [item for item in (found if isinstance(found, list) else [found]) if isinstance(item, dict)]


def _frames(data: bytes) -> Iterator[Any]:
    """Yield the payloads of AWS's event stream: lengths of frame and headers, their checksum, headers, payload."""
    while len(data) >= 16:
        total, headers = struct.unpack(">II", data[:8])
        try:
            event = json.loads(data[12 + headers : total - 4])
        except ValueError:
            return
        event = json.loads(base64.b64decode(event["bytes"])) if "bytes" in event else event
        yield event.get("contentBlockStart") or event.get("contentBlockDelta") or event
        data = data[total:]


def answers(found: list[dict[str, Any]]) -> list[Piece] | None:
    """Return what was answered, one piece an alternative; None where no answer is recognised."""
    runs: dict[Any, Run] = {}
    for document in found:
        _hear(runs, document)
    return [run.piece() for run in runs.values()] or None


def _hear(runs: dict[Any, Run], document: dict[str, Any]) -> None:
    """Add a document, whole or a piece of a stream, to the alternatives heard."""
    for place, choice in enumerate(document.get("choices") or document.get("candidates") or []):
        run = runs.setdefault(choice.get("index", place), Run())
        whole = choice.get("message") or choice.get("content")
        if whole and not str(document.get("object")).endswith("chunk"):  # some hosts send both
            speak(run, whole)
        else:
            _hear_delta(run, choice.get("delta") or {})
    whole = document.get("response") if isinstance(document.get("response"), dict) else document
    output = whole.get("output")
    if isinstance(output, list) and whole.get("status") not in {"in_progress", "queued"}:
        messages = [item for item in output if isinstance(item, dict) and writer(item) == "assistant"]
        runs[0] = Run()
        for item in messages:
            speak(runs[0], {"content": [item]} if is_item(item) else item)
    elif isinstance(output, dict) and "message" in output:
        speak(runs.setdefault(0, Run()), output["message"])
    elif "choices" not in document and "candidates" not in document:
        _hear_event(runs, document)


def _hear_delta(run: Run, delta: dict[str, Any]) -> None:
    speak(run, {key: delta.get(key) for key in ("content", "refusal")})
    for place, call in enumerate(delta.get("tool_calls") or []):
        node = call.get("function") or call
        run.call(node.get("name"), node.get("arguments"), call.get("index", call.get("id") or place))


def _hear_event(runs: dict[Any, Run], event: dict[str, Any]) -> None:
    """Add a message, or an event of a stream that is built of blocks."""
    kind = str(event.get("type") or event.get("event_type") or "")
    if event.get("role") == "assistant" and isinstance(event.get("content"), list):
        speak(runs.setdefault(0, Run()), event)
    elif kind in {"text-generation", "tool-calls-generation"} or (
        not kind and {"text", "generation_id"} <= event.keys()
    ):
        speak(runs.setdefault(0, Run()), {key: event.get(key) for key in ("text", "tool_calls")})
    elif isinstance(event.get("message"), dict) and kind in {"", "message_start"}:
        speak(runs.setdefault(0, Run()), event["message"])
    elif "delta" in event or "content_block" in event or "start" in event:
        _hear_block(runs.setdefault(0, Run()), event)


def _hear_block(run: Run, event: dict[str, Any]) -> None:
    """Add the start of a block or a piece of it; which block is meant, its index says."""
    place = event.get("index", event.get("contentBlockIndex"))
    piece = event.get("content_block") or event.get("start") or event.get("delta")
    message = piece.get("message") if isinstance(piece, dict) else None
    if isinstance(message, dict):  # blocks and calls stand one level deeper
        content = message.get("content")
        run.text += (content.get("text") or "") if isinstance(content, dict) else ""
        call = message.get("tool_calls")
        piece = call.get("function") or {} if isinstance(call, dict) else {}
    if not isinstance(piece, dict) or piece.get("type") in {"server_tool_use", "mcp_tool_use"}:
        return
    call = piece.get("toolUse") or piece
    if call.get("name"):
        run.call(call["name"], first(call, ARGUMENTS), place)
    elif (more := first(call, ("partial_json", "arguments", "input"))) is not None:
        if place in run.calls:
            run.call(None, more, place)
    elif piece.get("type") in {None, "text", "text_delta"}:
        run.text += piece.get("text") or ""

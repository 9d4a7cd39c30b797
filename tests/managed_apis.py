"""SDKs that a managed conversation is tried with: how each is called, and what its provider answers."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anthropic
import boto3
import cohere
import openai
from google import genai
from google.genai import types
from mistralai.client import Mistral
from sdk_bodies import CHAT, RESPONSE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stub_server import StubServer

TOOL = "tempo"


@dataclass(frozen=True)
class Api:
    """One surface through its SDK; ``wire`` is where the messages of a request's JSON stand, ``system`` its prompt."""

    provider: str
    surface: str
    send: Callable[[Any, dict[str, Any]], Any]
    answer: Callable[[str, int], dict[str, Any]]
    asking: Callable[[int], dict[str, Any]]
    result: dict[str, Any]
    wire: str
    system: Callable[[dict[str, Any]], Any]
    client: Callable[[StubServer], Any]

    @contextmanager
    def opened(self, stub: StubServer) -> Iterator[Callable[..., Any]]:
        """Return what sends a request with the manager's arguments, for as long as the client is open."""
        client = self.client(stub)
        with client if hasattr(client, "__exit__") else closing(client):
            yield lambda **arguments: self.send(client, arguments)


def _openai(stub: StubServer) -> Any:
    return openai.OpenAI(api_key="test-key", base_url=f"{stub.url}/v1", max_retries=0)


def _anthropic(stub: StubServer) -> Any:
    return anthropic.Anthropic(api_key="test-key", base_url=stub.url, max_retries=0)


def _genai(stub: StubServer) -> Any:
    return genai.Client(api_key="test-key", http_options=types.HttpOptions(base_url=stub.url))


def _mistral(stub: StubServer) -> Any:
    return Mistral(api_key="test-key", server_url=stub.url)


def _cohere(stub: StubServer) -> Any:
    return cohere.ClientV2(api_key="test-key", base_url=stub.url)


def _bedrock(stub: StubServer) -> Any:
    keys = {"aws_access_key_id": "AKIDTEST", "aws_secret_access_key": "secret"}
    return boto3.client("bedrock-runtime", endpoint_url=stub.url, region_name="us-east-1", **keys)


def _choice(message: dict[str, Any], number: int) -> dict[str, Any]:
    body = {**CHAT, "id": f"chatcmpl-{number}", "choices": [{**CHAT["choices"][0], "message": message}]}
    return {**body, "model": "m"}


_CALL = {"id": "call00001", "type": "function", "function": {"name": TOOL, "arguments": '{"city":"Oslo"}'}}


def _chat(provider: str, client: Any, send: Any) -> Api:
    return Api(
        provider,
        "chat.completions",
        send,
        lambda text, n: _choice({"role": "assistant", "content": text, "refusal": None, "annotations": []}, n),
        lambda n: _choice({"role": "assistant", "content": None, "tool_calls": [_CALL]}, n),
        {"role": "tool", "tool_call_id": "call00001", "content": "12 degrees"},
        "messages",
        lambda body: [m["content"] for m in body["messages"] if m["role"] == "system"],
        client,
    )


def _response(output: list[dict[str, Any]], number: int) -> dict[str, Any]:
    return {**RESPONSE, "id": f"resp_{number}", "output": output}


def _said(text: str, number: int) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "id": f"msg_{number}", "status": "completed", "role": "assistant", "content": [part]}


def _message(content: list[dict[str, Any]], number: int, reason: str) -> dict[str, Any]:
    usage = {"input_tokens": 19, "output_tokens": 10}
    head = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "claude-x"}
    return {**head, "content": content, "stop_reason": reason, "stop_sequence": None, "usage": usage}


def _candidate(part: dict[str, Any], number: int) -> dict[str, Any]:
    content = {"role": "model", "parts": [part]}
    usage = {"promptTokenCount": 19, "candidatesTokenCount": 10, "totalTokenCount": 29}
    return {"responseId": f"g{number}", "candidates": [{"content": content, "index": 0}], "usageMetadata": usage}


def _interaction(step: dict[str, Any], number: int) -> dict[str, Any]:
    times = {"created": "2026-11-23T10:00:00Z", "updated": "2026-11-23T10:00:01Z"}
    head = {"id": f"int_{number}", "object": "interaction", "model": "gemini-x", "status": "completed", **times}
    return {**head, "steps": [step], "usage": {"total_input_tokens": 19, "total_output_tokens": 10}}


def _entry(entry: dict[str, Any], number: int) -> dict[str, Any]:
    usage = {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29}
    outputs = [{"object": "entry", "id": f"entry_{number}", "created_at": "2026-11-23T10:00:00Z", **entry}]
    return {"object": "conversation.response", "conversation_id": "conv_1", "outputs": outputs, "usage": usage}


def _continue(client: Any, arguments: dict[str, Any]) -> Any:
    conversations = client.beta.conversations
    if "conversation_id" in arguments:
        return conversations.append(**arguments)
    return conversations.start(model="m", **arguments)


def _converse(content: list[dict[str, Any]], reason: str) -> dict[str, Any]:
    usage = {"inputTokens": 19, "outputTokens": 10, "totalTokens": 29}
    message = {"role": "assistant", "content": content}
    return {"output": {"message": message}, "stopReason": reason, "usage": usage, "metrics": {"latencyMs": 1}}


def _cohere_answer(message: dict[str, Any], number: int) -> dict[str, Any]:
    usage = {"tokens": {"input_tokens": 19, "output_tokens": 10}}
    return {
        "id": f"c{number}",
        "finish_reason": "COMPLETE",
        "message": {"role": "assistant", **message},
        "usage": usage,
    }


APIS = {
    "openai chat": _chat("openai", _openai, lambda c, a: c.chat.completions.create(model="gpt-x", **a)),
    "openrouter chat": _chat("openrouter", _openai, lambda c, a: c.chat.completions.create(model="gpt-x", **a)),
    "mistral chat": _chat("mistral", _mistral, lambda c, a: c.chat.complete(model="m", **a)),
    "openai responses": Api(
        "openai",
        "responses",
        lambda c, a: c.responses.create(model="gpt-x", **a),
        lambda text, n: _response([{"type": "reasoning", "id": f"rs_{n}", "summary": []}, _said(text, n)], n),
        lambda n: _response(
            [{"type": "function_call", "id": f"fc_{n}", "call_id": "call00001", "name": TOOL, "arguments": "{}"}], n
        ),
        {"type": "function_call_output", "call_id": "call00001", "output": "12 degrees"},
        "input",
        lambda body: body.get("instructions"),
        _openai,
    ),
    "anthropic messages": Api(
        "anthropic",
        "messages",
        lambda c, a: c.messages.create(model="claude-x", max_tokens=9, **a),
        lambda text, n: _message([{"type": "text", "text": text, "citations": None}], n, "end_turn"),
        lambda n: _message([{"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": {"a": 1}}], n, "tool_use"),
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "12 degrees"}]},
        "messages",
        lambda body: body.get("system"),
        _anthropic,
    ),
    "gemini generate_content": Api(
        "gemini",
        "generate_content",
        lambda c, a: c.models.generate_content(model="gemini-x", **a),
        lambda text, n: _candidate({"text": text, "thoughtSignature": "+/8="}, n),
        lambda n: _candidate({"functionCall": {"name": TOOL, "args": {}}, "thoughtSignature": "c2ln"}, n),
        {"role": "user", "parts": [{"functionResponse": {"name": TOOL, "response": {"result": "12 degrees"}}}]},
        "contents",
        lambda body: body.get("systemInstruction", {}).get("parts", [{}])[0].get("text"),
        _genai,
    ),
    "gemini interactions": Api(
        "gemini",
        "interactions",
        lambda c, a: c.interactions.create(model="gemini-x", **a),
        lambda text, n: _interaction({"type": "model_output", "content": [{"type": "text", "text": text}]}, n),
        lambda n: _interaction({"type": "function_call", "id": "call00001", "name": TOOL, "arguments": {}}, n),
        {"type": "function_result", "call_id": "call00001", "name": TOOL, "result": "12 degrees"},
        "input",
        lambda body: body.get("system_instruction"),
        _genai,
    ),
    "mistral conversations": Api(
        "mistral",
        "conversations",
        _continue,
        lambda text, n: _entry({"type": "message.output", "role": "assistant", "content": text}, n),
        lambda n: _entry({"type": "function.call", "tool_call_id": "call00001", "name": TOOL, "arguments": "{}"}, n),
        {"object": "entry", "type": "function.result", "tool_call_id": "call00001", "result": "12 degrees"},
        "inputs",
        lambda body: body.get("instructions"),
        _mistral,
    ),
    "cohere chat": Api(
        "cohere",
        "chat",
        lambda c, a: c.chat(model="command-x", **a),
        lambda text, n: _cohere_answer({"content": [{"type": "text", "text": text}]}, n),
        lambda n: _cohere_answer({"tool_plan": "I look it up.", "tool_calls": [_CALL]}, n),
        {"role": "tool", "tool_call_id": "call00001", "content": "12 degrees"},
        "messages",
        lambda body: [m["content"] for m in body["messages"] if m["role"] == "system"],
        _cohere,
    ),
    "bedrock converse": Api(
        "bedrock",
        "converse",
        lambda c, a: c.converse(modelId="m", **a),
        lambda text, _: _converse([{"text": text}], "end_turn"),
        lambda _: _converse([{"toolUse": {"toolUseId": "t1", "name": TOOL, "input": {}}}], "tool_use"),
        {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "12 degrees"}]}}]},
        "messages",
        lambda body: body.get("system"),
        _bedrock,
    ),
}

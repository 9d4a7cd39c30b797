"""The Claude Agent SDK with the program it brings along, against a loopback server: a query is a row, by its result.

The program is a process of its own: no seam sees its HTTP, so a row is read from the messages an observed function
returns or yields.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import tempfile
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import turnledger
from claude_agent_sdk import (
    AgentDefinition,
    AssistantMessage,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    ResultMessage,
    query,
)
from sdk_bodies import MESSAGE_STREAM
from stub_server import Reply, StubServer, events, json_reply, sse_reply
from turnledger.instrument import health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator

    from conftest import Recorder

MODEL = "claude-opus-5"


@pytest.fixture
def options(stub: StubServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClaudeAgentOptions]:
    """Options of a program that has a home of its own and speaks to the loopback server alone."""
    for name in [name for name in os.environ if name.startswith(("ANTHROPIC_", "CLAUDE_", "AWS_"))]:
        monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        environment = {
            "HOME": home,
            "CLAUDE_CONFIG_DIR": home,
            "ANTHROPIC_BASE_URL": stub.url,
            "ANTHROPIC_API_KEY": "test-key",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "0",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "HTTPS_PROXY": "http://127.0.0.1:9",  # whatever it might still want from elsewhere
            "NO_PROXY": "127.0.0.1",
        }
        yield ClaudeAgentOptions(env=environment, cwd=home, tools=[], model=MODEL, setting_sources=[], max_turns=5)


def answer_of(model: str, block: dict[str, Any], tokens: tuple[int, int]) -> Reply:
    """Return the stream of a message of one block."""
    usage = {"input_tokens": tokens[0], "output_tokens": tokens[1]}
    usage |= {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    stop = "tool_use" if block["type"] == "tool_use" else "end_turn"
    begun = {"id": f"msg_{tokens[0]}", "type": "message", "role": "assistant", "model": model, "content": []}
    if block["type"] == "tool_use":
        begin, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    else:
        begin, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
    return sse_reply(
        events(
            [
                {"type": "message_start", "message": {**begun, "stop_reason": None, "usage": usage}},
                {"type": "content_block_start", "index": 0, "content_block": begin},
                {"type": "content_block_delta", "index": 0, "delta": delta},
                {"type": "content_block_stop", "index": 0},
                {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage},
                {"type": "message_stop"},
            ]
        )
    )


def ended(work: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end; pipes that the SDK leaves open are closed while their loop still runs."""

    async def whole() -> Any:
        try:
            return await work
        finally:
            gc.collect()
            await asyncio.sleep(0)

    return asyncio.run(whole())


async def messages_of(prompt: str, options: ClaudeAgentOptions) -> AsyncIterator[Any]:
    async with aclosing(query(prompt=prompt, options=options)) as messages:
        async for message in messages:
            yield message


async def result_of(prompt: str, options: ClaudeAgentOptions) -> ResultMessage:
    found = [message async for message in messages_of(prompt, options)]
    return next(message for message in found if isinstance(message, ResultMessage))


def check_row(row: dict[str, Any], result: ResultMessage) -> None:
    """Assert that the row of a query says what its result says, as the bodies here have it."""
    assert (row["provider"], row["surface"], row["operation"]) == ("anthropic", "agent_sdk.query", "invoke_agent")
    assert (row["input_tokens"], row["output_tokens"]) == (19, 10)
    assert (row["cache_read_tokens"], row["cache_write_tokens"]) == (8, 4)
    assert dict(row["cache_write_by_ttl"]) == {"5m": 4, "1h": 0}
    assert (row["response_model"], row["response_id"]) == (MODEL, result.uuid)
    assert (row["finish_reasons"], row["error_type"]) == (["end_turn"], None)
    assert row["session_id"] == result.session_id
    # What the program estimates is no bill.
    assert row["billed_cost_usd"] is None
    assert json.loads(row["raw_usage"])["model_usage"][0][MODEL]["costBasis"] == "list"
    assert "ello" not in row["raw_metadata"]


def test_a_query_is_a_row_by_its_returned_result(stub: StubServer, recorder: Recorder, options: ClaudeAgentOptions):
    stub.script(sse_reply(MESSAGE_STREAM))
    observed = turnledger.observe(result_of)
    first = ended(observed("Say hello.", options))
    options.resume = first.session_id
    second = ended(turnledger.observe(session="options")(result_of)("Again.", options))
    assert first.session_id == second.session_id
    for row, result in zip(recorder.rows(), (first, second), strict=True):
        check_row(row, result)
        assert (row["conversation_id"], row["conversation_source"]) == (first.session_id, "sdk_session")
        assert json.loads(row["raw_metadata"])["response"]["total_cost_usd"] == result.total_cost_usd
    assert [row.path for row in stub.requests] == ["/v1/messages?beta=true"] * 2
    assert health.snapshot() == {}


def test_a_query_is_a_row_by_its_yielded_messages(stub: StubServer, recorder: Recorder, options: ClaudeAgentOptions):
    stub.script(sse_reply(MESSAGE_STREAM))
    observed = turnledger.observe(conversation="chat-1")(messages_of)

    async def run() -> list[Any]:
        return [message async for message in observed("Say hello.", options)]

    messages = ended(run())
    answer = next(message for message in messages if isinstance(message, AssistantMessage))
    row = recorder.row()
    check_row(row, messages[-1])
    assert row["is_stream"] is True
    assert (row["conversation_id"], row["conversation_source"]) == ("chat-1", "app")
    assert dict(row["identifiers"])["message_id"] == [answer.message_id]


# The SDK leaves a stream of its own open where a loop is left; observed or not.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning")
def test_a_loop_left_at_the_result_is_complete(stub: StubServer, recorder: Recorder, options: ClaudeAgentOptions):
    stub.script(sse_reply(MESSAGE_STREAM))

    async def run() -> ResultMessage:
        async with aclosing(turnledger.observe(messages_of)("Say hello.", options)) as messages:
            async for message in messages:
                if isinstance(message, ResultMessage):
                    return message
        raise AssertionError

    result = ended(run())
    check_row(recorder.row(), result)
    gc.collect()


def test_the_turns_of_a_client_are_rows_of_one_session(
    stub: StubServer, recorder: Recorder, options: ClaudeAgentOptions
):
    stub.script(sse_reply(MESSAGE_STREAM))

    @turnledger.observe(session="client")
    async def ask(client: ClaudeSDKClient) -> ResultMessage:
        await client.query("Say hello.")
        return [message async for message in client.receive_response()][-1]

    async def run() -> list[ResultMessage]:
        async with ClaudeSDKClient(options) as client:
            return [await ask(client) for _ in range(2)]

    results = ended(run())
    rows = recorder.rows()
    # The program's estimate runs on over the turns; the tokens of a row are those of its turn.
    assert results[1].total_cost_usd == pytest.approx(2 * (results[0].total_cost_usd or 0))
    for row, result in zip(rows, results, strict=True):
        check_row(row, result)
    assert len({row["conversation_id"] for row in rows}) == 1


def test_turns_yielded_together_are_added_up(stub: StubServer, recorder: Recorder, options: ClaudeAgentOptions):
    stub.script(sse_reply(MESSAGE_STREAM))

    @turnledger.observe
    async def talk() -> AsyncIterator[Any]:
        async with ClaudeSDKClient(options) as client:
            for _ in range(2):
                await client.query("Say hello.")
                async for message in client.receive_response():
                    yield message

    async def run() -> list[Any]:
        return [message async for message in talk()]

    assert ended(run())
    row = recorder.row()
    assert (row["input_tokens"], row["output_tokens"], row["cache_read_tokens"]) == (38, 20, 16)


def test_what_subagents_use_leaves_the_query_without_a_price(
    stub: StubServer, recorder: Recorder, options: ClaudeAgentOptions
):
    task = {"description": "look", "prompt": "look", "subagent_type": "helper", "run_in_background": False}
    stub.script(
        answer_of(MODEL, {"type": "tool_use", "id": "toolu_01", "name": "Agent", "input": task}, (100, 10)),
        answer_of("claude-haiku-4-5", {"type": "text", "text": "found"}, (1000, 20)),
        answer_of(MODEL, {"type": "text", "text": "done"}, (200, 30)),
    )
    options.tools, options.allowed_tools = None, ["Agent"]
    options.agents = {"helper": AgentDefinition(description="helps", prompt="help", model="haiku", tools=[])}
    observed = turnledger.observe(messages_of)

    async def run() -> list[Any]:
        return [message async for message in observed("Look.", options)]

    result = ended(run())[-1]
    row = recorder.row()
    assert [json.loads(asked.body)["model"] for asked in stub.requests][::2] == [MODEL, MODEL]
    # The result's usage is that of the agent itself; two models answered, so no single price fits.
    assert (row["input_tokens"], row["output_tokens"], row["response_model"]) == (300, 40, None)
    assert (row["response_id"], row["session_id"]) == (result.uuid, result.session_id)
    assert dict(row["usage_details"])["beside_subagent_tokens"] > 0
    assert set(dict(row["identifiers"])["tool_call_id"]) == {"toolu_01"}


def test_a_query_that_fails_is_raised_as_ever(stub: StubServer, recorder: Recorder, options: ClaudeAgentOptions):
    stub.script(json_reply({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}, 400))
    with pytest.raises(Exception, match="400") as plain:
        ended(result_of("Say hello.", options))
    with pytest.raises(Exception, match="400") as observed:
        ended(turnledger.observe(result_of)("Say hello.", options))
    assert type(observed.value) is type(plain.value)
    assert recorder.rows() == []
    assert health.snapshot() == {}

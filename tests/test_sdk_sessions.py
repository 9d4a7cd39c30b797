"""Sessions of real SDKs over loopback: their ids are recorded, and are the conversation where nothing else is."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import agents
import httpx2
import openai
import pytest
import turnledger
from agents.extensions.memory import AdvancedSQLiteSession
from google.genai import types
from mistralai.client import Mistral
from mistralai.extra.run.context import RunContext
from sdk_bodies import GEMINI, RESPONSE, RESPONSE_STREAM
from stub_server import StubServer, json_reply, sse_reply
from test_sdks import genai_client
from turnledger.instrument import health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from conftest import Recorder

agents.set_tracing_disabled(disabled=True)  # its traces would leave for the network

TOOL_CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city": "Rome"}',
    "status": "completed",
}
HANDOFF = {**TOOL_CALL, "call_id": "call_2", "name": "transfer_to_poet", "arguments": "{}"}


def response(number: int, *output: Any) -> dict[str, Any]:
    return {**RESPONSE, "id": f"resp_{number}", "output": list(output) or RESPONSE["output"]}


def identity(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["conversation_id"], row["conversation_source"], row["session_id"]


@agents.function_tool
def weather(city: str) -> str:
    """Say what the weather is like."""
    return f"sunny in {city}"


def model(client: Any) -> Any:
    return agents.OpenAIResponsesModel("gpt-5-mini", client)


@asynccontextmanager
async def openai_agent(stub: StubServer) -> AsyncIterator[agents.Agent]:
    """An agent with a tool, another agent as a tool, and one that it hands over to."""
    async with openai.AsyncOpenAI(api_key="test-key", base_url=f"{stub.url}/v1", max_retries=0) as client:
        poet = agents.Agent(name="poet", model=model(client))
        asker = agents.Agent(name="asker", model=model(client))
        ask = asker.as_tool("ask", "asks another agent")
        yield agents.Agent(name="first", model=model(client), tools=[weather, ask], handoffs=[poet])


# --- openai-agents


def test_all_calls_of_an_agents_turns_have_its_session(stub: StubServer, recorder: Recorder, tmp_path: Path):
    ask = {**TOOL_CALL, "call_id": "call_3", "name": "ask", "arguments": '{"input": "Well?"}'}
    stub.script(
        *(json_reply(response(1, TOOL_CALL)), json_reply(response(2, ask)), json_reply(response(3))),
        *(json_reply(response(4, HANDOFF)), json_reply(response(5)), json_reply(response(6))),
    )

    @turnledger.observe(session="session")
    async def answer(agent: agents.Agent, text: str, session: agents.Session) -> str:
        return (await agents.Runner.run(agent, text, session=session)).final_output

    async def run() -> None:
        session = agents.SQLiteSession("chat-1", tmp_path / "chats.db")
        async with openai_agent(stub) as agent:
            assert await answer(agent, "What is the weather in Rome?", session) == "Hello there."
            assert await answer(agent, "And now?", session) == "Hello there."
            assert len(await session.get_items()) == 10
        session.close()

    asyncio.run(run())
    rows = recorder.rows()
    assert [row["response_id"] for row in rows] == [f"resp_{number}" for number in range(1, 7)]
    assert {identity(row) for row in rows} == {("chat-1", "sdk_session", "chat-1")}


def test_a_streamed_run_has_its_session(stub: StubServer, recorder: Recorder, tmp_path: Path):
    stub.script(sse_reply(RESPONSE_STREAM))

    async def run() -> None:
        session = AdvancedSQLiteSession(session_id="chat-2", db_path=tmp_path / "chats.db", create_tables=True)
        async with openai_agent(stub) as agent:
            with turnledger.conversation(session=session, user="u1"):
                streamed = agents.Runner.run_streamed(agent, "Hello", session=session)
            assert [event async for event in streamed.stream_events()]
        session.close()

    asyncio.run(run())
    row = recorder.row()
    assert (*identity(row), row["user_id"]) == ("chat-2", "sdk_session", "chat-2", "u1")


def test_what_the_application_says_comes_first(stub: StubServer, recorder: Recorder):
    stub.script(json_reply(RESPONSE))

    async def run() -> None:
        session = agents.SQLiteSession("chat-1")
        async with openai_agent(stub) as agent:
            with turnledger.conversation("mine", session=session):
                await agents.Runner.run(agent, "Hello", session=session)
        session.close()

    asyncio.run(run())
    assert identity(recorder.row()) == ("mine", "app", "chat-1")


def test_a_session_that_the_provider_keeps_is_the_providers(stub: StubServer, recorder: Recorder):
    conversation = {"id": "conv_1", "object": "conversation", "created_at": 1795000000, "metadata": {}}
    items = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    turn = (json_reply(items), json_reply(items), json_reply(RESPONSE), json_reply(items))
    stub.script(json_reply(conversation), *turn, *turn)

    async def run() -> None:
        async with openai.AsyncOpenAI(api_key="test-key", base_url=f"{stub.url}/v1", max_retries=0) as client:
            session = agents.OpenAIConversationsSession(openai_client=client)
            agent = agents.Agent(name="first", model=model(client))
            for _ in range(2):
                with turnledger.conversation(session=session):
                    await agents.Runner.run(agent, "Hello", session=session)

    asyncio.run(run())
    rows = recorder.rows()
    # The first turn began before there was an id: the request that made it is the only one without a session.
    assert [row["session_id"] for row in rows] == [None, *["conv_1"] * 8]
    assert {row["conversation_id"] for row in rows} == {"conv_1"}
    assert [identity(row)[1] for row in rows if row["surface"] == "responses"] == ["sdk_session"] * 2
    assert health.snapshot() == {}


# --- google-genai


def called(name: str) -> dict[str, Any]:
    part = {"functionCall": {"name": name, "args": {"city": "Rome"}}}
    return {**GEMINI, "candidates": [{**GEMINI["candidates"][0], "content": {"role": "model", "parts": [part]}}]}


def forecast(city: str) -> str:
    """Say what the weather is like."""
    return f"sunny in {city}"


def test_a_chat_without_an_id_is_one_conversation_as_long_as_it_lives(stub: StubServer, capture: Recorder):
    capture.hosts = {stub.host: "gemini"}
    capture.on()
    replies = [json_reply(called("forecast")), json_reply(GEMINI)]
    stub.script(*replies, *replies, *replies)

    @turnledger.observe(session="chat")
    def answer(chat: Any, text: str) -> str:
        return chat.send_message(text).text

    with genai_client(stub) as client:
        config = types.GenerateContentConfig(tools=[forecast])
        one, other = (client.chats.create(model="gemini-2.5-flash", config=config) for _ in range(2))
        for chat in (one, one, other):
            assert answer(chat, "What is the weather in Rome?")
    rows = capture.rows()
    ids = [row["session_id"] for row in rows]
    assert len(rows) == 6
    assert ids[:4] == [ids[0]] * 4
    assert ids[4:] == [ids[4]] * 2
    assert ids[0].startswith("turnledger-")
    assert ids[0] != ids[4]
    assert {(row["conversation_id"] == row["session_id"], row["conversation_source"]) for row in rows} == {
        (True, "sdk_session")
    }


def test_an_async_chat_is_one_too(stub: StubServer, capture: Recorder):
    capture.hosts = {stub.host: "gemini"}
    capture.on()
    stub.script(json_reply(GEMINI))

    async def run() -> None:
        client = genai_client(stub)
        chat = client.aio.chats.create(model="gemini-2.5-flash")
        for _ in range(2):
            with turnledger.conversation(session=chat):
                await chat.send_message("Hello")
        await client.aio.aclose()
        client.close()

    asyncio.run(run())
    first, second = map(identity, capture.rows())
    assert first == second
    assert first[1] == "sdk_session"


# --- mistralai

MISTRAL_CALL = {
    "object": "entry",
    "type": "function.call",
    "id": "fc_1",
    "tool_call_id": "call_1",
    "name": "forecast",
    "arguments": '{"city": "Rome"}',
}
MISTRAL_HANDOFF = {
    "object": "entry",
    "type": "agent.handoff",
    "id": "ho_1",
    "previous_agent_id": "ag_1",
    "previous_agent_name": "first",
    "next_agent_id": "ag_2",
    "next_agent_name": "poet",
}
MISTRAL_ANSWER = {"object": "entry", "type": "message.output", "id": "msg_1", "role": "assistant", "content": "Sunny."}


def mistral_reply(*outputs: Any) -> Any:
    usage = {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29}
    return json_reply(
        {"object": "conversation.response", "conversation_id": "conv_1", "outputs": list(outputs), "usage": usage}
    )


def test_a_mistral_conversation_is_the_providers(stub: StubServer, capture: Recorder):
    capture.hosts = {stub.host: "mistral"}
    capture.on()
    stub.script(
        *(mistral_reply(MISTRAL_CALL), mistral_reply(MISTRAL_ANSWER)),
        mistral_reply(MISTRAL_HANDOFF, MISTRAL_ANSWER),
    )

    async def run() -> None:
        async with (
            httpx2.AsyncClient() as http,
            RunContext(model="mistral-medium-latest") as context,
        ):
            client = Mistral(api_key="test-key", server_url=stub.url, async_client=http)
            context.register_func(forecast)
            for text in ("What is the weather in Rome?", "A poem, please."):
                with turnledger.conversation(session=context):
                    await client.beta.conversations.run_async(run_ctx=context, inputs=text)

    asyncio.run(run())
    rows = capture.rows()
    # The first answer gives the context its id.
    assert [identity(row) for row in rows] == [
        ("conv_1", "provider", None),
        ("conv_1", "provider", "conv_1"),
        ("conv_1", "provider", "conv_1"),
    ]
    assert [row["surface"] for row in rows] == ["conversations", *["conversations.append"] * 2]


def test_a_mistral_response_names_the_conversation(stub: StubServer, capture: Recorder):
    capture.hosts = {stub.host: "mistral"}
    capture.on()
    stub.script(mistral_reply(MISTRAL_ANSWER))

    @turnledger.observe(session=lambda _, started: started)
    def append(client: Mistral, started: Any) -> Any:
        return client.beta.conversations.append(conversation_id=started.conversation_id, inputs="And now?")

    with httpx2.Client() as http:
        client = Mistral(api_key="test-key", server_url=stub.url, client=http)
        started = client.beta.conversations.start(model="mistral-medium-latest", inputs="Hello")
        append(client, started)
    assert [identity(row) for row in capture.rows()] == [
        ("conv_1", "provider", None),
        ("conv_1", "provider", "conv_1"),
    ]


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of the machine's user gets into these calls."""
    for name in ("OPENAI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY", "MISTRAL_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)

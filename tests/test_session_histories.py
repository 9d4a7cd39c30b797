"""A manager's history in the sessions of real SDKs: what is said stands in both, and later turns go on from it."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

import agents
import httpx2
import openai
import orjson
import pytest
from mistralai.client import Mistral
from sdk_bodies import GEMINI, RESPONSE
from stub_server import StubServer, json_reply
from test_sdk_sessions import MISTRAL_ANSWER, mistral_reply
from test_sdks import genai_client
from turnledger import ChatHistory, ConversationManager, MemoryHistory, ServerHistory, SessionHistory

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Recorder

USER = {"role": "user", "content": "Hello"}


def asked(stub: StubServer, number: int) -> Any:
    """Return the body of a request."""
    return orjson.loads(stub.requests[number].body)


def test_an_agents_session_backs_a_manager(stub: StubServer, recorder: Recorder, tmp_path: Path):
    stub.script(json_reply(RESPONSE))
    open_session = cache(lambda name: agents.SQLiteSession(name, tmp_path / "chats.db"))
    history = SessionHistory(open_session)

    async def turn(client: openai.AsyncOpenAI, text: str) -> None:
        manager = ConversationManager(
            "chat-1", provider="openai", surface="responses", strategy="full_history", history=history
        )
        async with manager.turn(text) as turn:
            turn.answer(await client.responses.create(model="gpt-5-mini", **turn.arguments()))

    async def run() -> None:
        async with openai.AsyncOpenAI(api_key="test-key", base_url=f"{stub.url}/v1", max_retries=0) as client:
            await turn(client, "Hello")
            assert len(await open_session("chat-1").get_items()) == 2
            # The session is the SDK's own: its agents go on from what the manager has said, and the other way round.
            agent = agents.Agent(name="first", model=agents.OpenAIResponsesModel("gpt-5-mini", client))
            await agents.Runner.run(agent, "And now?", session=open_session("chat-1"))
            await turn(client, "Good bye")
        assert len(await open_session("chat-1").get_items()) == 6
        assert await open_session("chat-2").get_items() == []

    asyncio.run(run())
    for name in ("chat-1", "chat-2"):
        open_session(name).close()
    assert [len(asked(stub, number)["input"]) for number in range(3)] == [1, 3, 5]
    assert [row["conversation_id"] for row in recorder.rows()] == ["chat-1"] * 3  # the agent's by its messages


def test_a_genai_chat_backs_a_manager(stub: StubServer, capture: Recorder):
    capture.hosts = {stub.host: "gemini"}
    capture.on()
    stub.script(json_reply(GEMINI))
    with genai_client(stub) as client:
        begun = client.chats.create(model="gemini-2.5-flash")
        begun.send_message("Hello")
        history = ChatHistory(
            lambda messages: client.chats.create(model="gemini-2.5-flash", history=messages), {"chat-1": begun}
        )
        manager = ConversationManager(
            "chat-1", provider="gemini", surface="generate_content", strategy="full_history", history=history
        )
        manager.call(lambda **said: client.models.generate_content(model="gemini-2.5-flash", **said), "And now?")
        history.chat("chat-1").send_message("Good bye")
        assert len(history.load("chat-1").messages) == 6
        assert history.load("chat-2").messages == []
    assert [len(asked(stub, number)["contents"]) for number in range(3)] == [1, 3, 5]
    assert [row["conversation_id"] for row in capture.rows()][1] == "chat-1"


def test_a_chats_bytes_come_back(stub: StubServer):
    signed = {"role": "model", "parts": [{"text": "x", "thoughtSignature": "_wBhYmM="}]}
    with genai_client(stub) as client:
        history = ChatHistory(lambda messages: client.chats.create(model="gemini-2.5-flash", history=messages))
        history.append("chat-1", [{"role": "user", "parts": [{"text": "Hello"}]}, signed])
        assert history.chat("chat-1").get_history()[1].parts[0].thought_signature == b"\xff\x00abc"
        assert history.load("chat-1").messages[1] == signed


def test_a_mistral_conversation_backs_a_manager(stub: StubServer, capture: Recorder):
    capture.hosts = {stub.host: "mistral"}
    capture.on()
    entry = {"object": "entry", "type": "message.input", "id": "msg_0", "role": "user", "content": "Hello"}

    def kept(*entries: Any) -> Any:
        return json_reply({"object": "conversation.history", "conversation_id": "conv_1", "entries": list(entries)})

    first, both = (entry, MISTRAL_ANSWER), (entry, MISTRAL_ANSWER, entry, MISTRAL_ANSWER)
    stub.script(mistral_reply(MISTRAL_ANSWER), kept(*first), mistral_reply(MISTRAL_ANSWER), kept(*both))
    with httpx2.Client() as http:
        client = Mistral(api_key="test-key", server_url=stub.url, client=http)
        conversations = client.beta.conversations
        started = conversations.start(model="mistral-medium-latest", inputs="Hello").conversation_id
        manager = ConversationManager(
            started,
            provider="mistral",
            surface="conversations",
            strategy="server_state",
            history=ServerHistory(conversations),
        )
        manager.call(conversations.append, "And now?")
    assert [asked.method for asked in stub.requests] == ["POST", "GET", "POST", "GET"]
    assert len(asked(stub, 2)["inputs"]) == 1
    assert {row["conversation_id"] for row in capture.rows()} == {"conv_1"}


class _Server:
    """Conversations of a server that has ``entries``."""

    def __init__(self, *entries: Any) -> None:
        self.entries = list(entries)

    def get_history(self, **asked: str) -> Any:
        assert asked == {"conversation_id": "conv_1"} or not self.entries
        return self


def test_what_a_server_did_not_get_is_refused():
    server = _Server(USER)
    history = ServerHistory(server)
    assert history.load("conv_1").messages == [USER]
    with pytest.raises(ValueError, match="has 1 entries of the conversation conv_1, expected 2"):
        history.append("conv_1", [USER])
    server.entries.append(USER)
    history.append("conv_1", [USER])
    with pytest.raises(ValueError, match="expected 3"):
        history.append("conv_1", [USER])


@pytest.mark.parametrize(
    "make", [lambda values: ServerHistory(_Server(), values), lambda values: ChatHistory(_chat, values=values)]
)
def test_named_values_stand_beside(make: Any):
    values = MemoryHistory()
    history = make(values)
    history.set_state("c1", "summary", {"text": "short"})
    assert history.load("c1").state["summary"] == values.load("c1").state["summary"] == {"text": "short"}
    history.set_state("c1", "summary", None)
    assert "summary" not in history.load("c1").state


class _Chat:
    def __init__(self, history: list[Any]) -> None:
        self._history = history

    def get_history(self) -> list[Any]:
        return self._history


def _chat(history: list[Any]) -> _Chat:
    return _Chat(history)

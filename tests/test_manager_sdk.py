"""Managed conversations through real SDKs: what crosses the wire for every strategy and surface."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
import turnledger
from google.genai import types
from managed_apis import APIS, Api
from sdk_bodies import MESSAGE_STREAM
from stub_server import StubServer, json_reply, sse_reply

if TYPE_CHECKING:
    from conftest import Recorder

SYSTEM = "Be brief."


def bodies(stub: StubServer) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in stub.requests]


def texts(messages: list[Any]) -> list[str]:
    """Return the words of messages, of whatever shape, with ``call`` and ``result`` for those of tools."""

    def word(node: Any) -> list[str]:
        if isinstance(node, dict):
            return [found for key, item in node.items() for found in (word(item) if key not in SKIPPED else [])]
        if isinstance(node, list):
            return [found for item in node for found in word(item)]
        return [node] if isinstance(node, str) and node in WORDS else []

    found = []
    for message in messages:
        text = json.dumps(message)
        marked = ["result"] if "12 degrees" in text else ["call"] if '"tempo"' in text else word(message)
        found.append("".join(marked))
    return found


SKIPPED = {"role", "type", "id", "status"}
WORDS = {"q1", "a1", "q2", "a2", "q3", "a3", "q4", "a4", SYSTEM}


def four_turns(api: Api, stub: StubServer, manager: Any, **own: Any) -> list[dict[str, Any]]:
    """Talk for four turns, the second of them with a tool, and return the five requests."""
    stub.script(
        json_reply(api.answer("a1", 1)),
        json_reply(api.asking(2)),
        json_reply(api.answer("a2", 3)),
        json_reply(api.answer("a3", 4)),
        json_reply(api.answer("a4", 5)),
    )
    with api.opened(stub) as send:
        for number in (1, 2, 3, 4):
            with manager.turn(f"q{number}") as turn:
                turn.answer(send(**turn.arguments(**own)))
                if number == 2:
                    turn.add(api.result)
                    turn.answer(send(**turn.arguments(**own)))
    return bodies(stub)


def managed(api: Api, strategy: str, **options: Any) -> turnledger.ConversationManager:
    named = {"provider": api.provider, "surface": api.surface, "system": SYSTEM, "strategy": strategy, **options}
    return turnledger.ConversationManager("chat-1", **named)


def sent(api: Api, stub: StubServer, strategy: str, **options: Any) -> list[list[str]]:
    requests = four_turns(api, stub, managed(api, strategy, **options))
    return [[text for text in texts(body[api.wire]) if text != SYSTEM] for body in requests]


EVERYTHING = [
    ["q1"],
    ["q1", "a1", "q2"],
    ["q1", "a1", "q2", "call", "result"],
    ["q1", "a1", "q2", "call", "result", "a2", "q3"],
    ["q1", "a1", "q2", "call", "result", "a2", "q3", "a3", "q4"],
]


def without_reasoning(messages: list[list[str]]) -> list[list[str]]:
    return [[text for text in request if text] for request in messages]


@pytest.mark.parametrize("name", APIS)
def test_full_history(name: str, stub: StubServer):
    assert without_reasoning(sent(APIS[name], stub, "full_history")) == EVERYTHING


@pytest.mark.parametrize("name", APIS)
def test_every_request_has_the_system_prompt(name: str, stub: StubServer):
    api = APIS[name]
    for body in four_turns(api, stub, managed(api, "full_history")):
        assert api.system(body) in (SYSTEM, [SYSTEM], [{"text": SYSTEM}])


@pytest.mark.parametrize("name", APIS)
def test_sliding_window(name: str, stub: StubServer):
    """The turn with the tool is left out as a whole, not in the middle."""
    assert without_reasoning(sent(APIS[name], stub, "sliding_window", window=4)) == [
        ["q1"],
        ["q1", "a1", "q2"],
        ["q2", "call", "result"],
        ["q3"],
        ["q3", "a3", "q4"],
    ]


@pytest.mark.parametrize("name", APIS)
def test_summary(name: str, stub: StubServer):
    api, asked = APIS[name], []

    def summarise(messages: list[Any]) -> str:
        asked.append([text for text in texts(messages) if text])
        return "q4 a1"

    requests = four_turns(api, stub, managed(api, "summary", window=3, summarise_over=6, summarise=summarise))
    assert asked[0][:2] == ["q1", "a1"]
    last = json.dumps(requests[-1][api.wire])
    assert "Summary of the earlier conversation:" in last
    assert '"q1"' not in last
    assert '"q4"' in last


STATEFUL = [name for name, api in APIS.items() if api.surface in ("responses", "interactions", "conversations")]


@pytest.mark.parametrize("name", STATEFUL)
def test_server_state(name: str, stub: StubServer):
    assert sent(APIS[name], stub, "server_state") == [["q1"], ["q2"], ["result"], ["q3"], ["q4"]]


def test_previous_response_id(stub: StubServer):
    requests = four_turns(APIS["openai responses"], stub, managed(APIS["openai responses"], "server_state"))
    assert [body.get("previous_response_id") for body in requests] == [None, "resp_1", "resp_2", "resp_3", "resp_4"]
    assert {body["instructions"] for body in requests} == {SYSTEM}


def test_previous_interaction_id(stub: StubServer):
    requests = four_turns(APIS["gemini interactions"], stub, managed(APIS["gemini interactions"], "server_state"))
    assert [body.get("previous_interaction_id") for body in requests] == [None, "int_1", "int_2", "int_3", "int_4"]
    assert {body["system_instruction"] for body in requests} == {SYSTEM}


def test_conversation_id(stub: StubServer):
    requests = four_turns(APIS["mistral conversations"], stub, managed(APIS["mistral conversations"], "server_state"))
    assert [request.path.rpartition("/")[2] for request in stub.requests] == ["conversations", *["conv_1"] * 4]
    assert [body.get("instructions") for body in requests] == [SYSTEM, None, None, None, None]


def test_a_conversation_of_the_applications_own(stub: StubServer):
    api = APIS["openai responses"]
    manager = managed(api, "server_state", state={"conversation": "conv_9"})
    stub.script(*(json_reply({**api.answer(f"a{n}", n), "conversation": {"id": "conv_9"}}) for n in (1, 2)))
    with api.opened(stub) as send:
        for text in ("q1", "q2"):
            manager.call(send, text)
    assert [body["conversation"] for body in bodies(stub)] == ["conv_9", "conv_9"]
    assert [texts(body["input"]) for body in bodies(stub)] == [["q1"], ["q2"]]


def test_breakpoints_of_anthropic(stub: StubServer):
    api, mark = APIS["anthropic messages"], {"type": "ephemeral", "ttl": "1h"}
    tools = [{"name": name, "description": "d", "input_schema": {"type": "object"}} for name in ("one", "tempo")]
    requests = four_turns(api, stub, managed(api, "cached_history", cache_ttl="1h"), tools=tools)
    for body in requests:
        assert [tool.get("cache_control") for tool in body["tools"]] == [None, mark]
        assert body["system"] == [{"type": "text", "text": SYSTEM, "cache_control": mark}]
    marks = [
        [
            number
            for number, message in enumerate(body["messages"])
            if isinstance(message["content"], list) and any("cache_control" in part for part in message["content"])
        ]
        for body in requests
    ]
    # Where the request ends, and where the one before it did.
    assert marks == [[0], [0, 2], [2, 4], [4, 6], [6, 8]]
    assert requests[2]["messages"][4]["content"][-1]["type"] == "tool_result"
    assert tools[1] == {"name": "tempo", "description": "d", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("name", "key"), [("openai chat", "prompt_cache_breakpoint"), ("openrouter chat", "cache_control")]
)
def test_breakpoints_of_chat(name: str, key: str, stub: StubServer):
    requests = four_turns(APIS[name], stub, managed(APIS[name], "cached_history"))
    marks = [[n for n, message in enumerate(body["messages"]) if key in json.dumps(message)] for body in requests]
    assert marks == [[0, 1], [0, 1, 3], [0, 3, 5], [0, 5, 7], [0, 7, 9]]
    assert requests[0]["messages"][1]["content"][0]["text"] == "q1"


def test_breakpoints_of_responses(stub: StubServer):
    requests = four_turns(APIS["openai responses"], stub, managed(APIS["openai responses"], "cached_history"))
    assert requests[0]["input"][0]["content"] == [
        {"type": "input_text", "text": "q1", "prompt_cache_breakpoint": {"mode": "explicit"}}
    ]
    assert requests[2]["input"][-1]["output"][0]["prompt_cache_breakpoint"] == {"mode": "explicit"}


def test_breakpoints_of_bedrock(stub: StubServer):
    point = {"cachePoint": {"type": "default"}}
    tools = {"tools": [{"toolSpec": {"name": "tempo", "inputSchema": {"json": {"type": "object"}}}}]}
    api = APIS["bedrock converse"]
    requests = four_turns(api, stub, managed(api, "cached_history"), toolConfig=tools)
    for body in requests:
        assert body["system"] == [{"text": SYSTEM}, point]
        assert body["toolConfig"]["tools"][-1] == point
        assert body["messages"][-1]["content"][-1] == point
        assert json.dumps(body).count("cachePoint") <= 4


def test_messages_of_bedrock_alternate(stub: StubServer):
    """What was asked before without an answer is sent in the same message."""
    api = APIS["bedrock converse"]
    manager = managed(api, "full_history")
    with manager.turn("q1"):
        pass
    stub.script(json_reply(api.answer("a2", 1)))
    with api.opened(stub) as send:
        manager.call(send, "q2")
    assert bodies(stub)[0]["messages"] == [{"role": "user", "content": [{"text": "q1"}, {"text": "q2"}]}]


def test_signatures_of_gemini_are_sent_back_as_they_came(stub: StubServer):
    api = APIS["gemini generate_content"]
    requests = four_turns(api, stub, managed(api, "full_history"), config={"temperature": 0.5})
    parts = [part for message in requests[-1]["contents"] if message["role"] == "model" for part in message["parts"]]
    signatures = [part["thoughtSignature"].translate(str.maketrans("-_", "+/")) for part in parts]
    assert signatures == ["+/8=", "c2ln", "+/8=", "+/8="]
    assert requests[-1]["generationConfig"] == {"temperature": 0.5}


def test_a_config_that_is_an_object_of_the_sdk(stub: StubServer):
    api = APIS["gemini generate_content"]
    config = types.GenerateContentConfig(temperature=0.5)
    for body in four_turns(api, stub, managed(api, "full_history"), config=config):
        assert body["generationConfig"] == {"temperature": 0.5}
        assert api.system(body) == SYSTEM
    assert config.system_instruction is None
    with managed(api, "full_history").turn("q1") as turn:
        own = types.GenerateContentConfig(system_instruction="The application's.")
        assert turn.arguments(config=own)["config"] == own


def test_answers_are_sent_back_without_what_the_api_does_not_take(stub: StubServer):
    requests = four_turns(APIS["openai chat"], stub, managed(APIS["openai chat"], "full_history"))
    answers = [message for message in requests[-1]["messages"] if message["role"] == "assistant"]
    assert answers[0] == {"role": "assistant", "content": "a1"}
    assert answers[1].keys() == {"role", "tool_calls"}


def test_answers_of_the_sdks_helpers(stub: StubServer):
    """Parsed answers and collected streams are sent back as the API itself wrote them."""
    chat, api = managed(APIS["openai chat"], "full_history"), APIS["openai responses"]
    manager = managed(api, "full_history")
    anthropic_api = APIS["anthropic messages"]
    messages = managed(anthropic_api, "full_history")
    with APIS["openai chat"].client(stub) as client:
        stub.script(json_reply(APIS["openai chat"].asking(1)))
        chat.call(lambda **arguments: client.chat.completions.parse(model="gpt-x", **arguments), "q1")
        stub.script(json_reply(api.answer("a1", 1)))
        manager.call(lambda **arguments: client.responses.parse(model="gpt-x", **arguments), "q1")
    stub.script(sse_reply(MESSAGE_STREAM))
    with anthropic_api.client(stub) as client, messages.turn("q1") as turn:
        with client.messages.stream(model="claude-x", max_tokens=9, **turn.arguments()) as stream:
            stream.until_done()
        turn.answer(stream.get_final_message())
    with chat.turn("q2") as one, manager.turn("q2") as two, messages.turn("q2") as three:
        call = {"name": "tempo", "arguments": '{"city":"Oslo"}'}
        assert one.arguments()["messages"][2] == {
            "role": "assistant",
            "tool_calls": [{"id": "call00001", "type": "function", "function": call}],
        }
        assert two.arguments()["input"][1:3] == api.answer("a1", 1)["output"]
        assert three.arguments()["messages"][1].keys() == {"role", "content"}


LOST = {
    "openai responses": (
        json_reply({"error": {"message": "gone", "type": "invalid_request_error", "code": None}}, 404),
        json_reply({"error": {"message": "gone", "type": "x", "code": "previous_response_not_found"}}, 400),
    ),
    "gemini interactions": (json_reply({"error": {"code": 404, "message": "gone", "status": "NOT_FOUND"}}, 404),),
    "mistral conversations": (json_reply({"object": "error", "message": "gone", "type": "not_found"}, 404),),
}


@pytest.mark.parametrize(("name", "lost"), [(name, reply) for name in STATEFUL for reply in LOST[name]])
def test_expired_state(name: str, lost: Any, stub: StubServer, capture: Recorder):
    api = APIS[name]
    capture.hosts = {stub.host: api.provider}
    capture.on()
    manager = managed(api, "server_state", user="u1")
    stub.script(*(json_reply(api.answer(f"a{n}", n)) for n in (1, 2)))
    with api.opened(stub) as send:
        manager.call(send, "q1")
        manager.call(send, "q2")
        stub.script(lost, json_reply(api.answer("a3", 3)), json_reply(api.answer("a4", 4)))
        manager.call(send, "q3")
        manager.call(send, "q4")
    inputs = without_reasoning([texts(body[api.wire]) for body in bodies(stub)])
    assert inputs == [["q3"], ["q1", "a1", "q2", "a2", "q3"], ["q4"]]
    assert api.system(bodies(stub)[1]) == SYSTEM
    rows = capture.rows()
    assert [row["managed_strategy"] for row in rows] == [*["server_state"] * 3, "full_history", "server_state"]
    reason = rows[3]["strategy_reason"]
    assert reason.startswith("server_state fell back: the provider no longer knew ")
    assert {(row["conversation_id"], row["user_id"]) for row in rows} == {("chat-1", "u1")}


def test_what_only_the_lost_state_knew_is_not_sent(stub: StubServer):
    api = APIS["openai responses"]
    manager = managed(api, "server_state")
    stub.script(json_reply(api.answer("a1", 1)), LOST["openai responses"][0], json_reply(api.answer("a2", 2)))
    with api.opened(stub) as send:
        manager.call(send, "q1")
        manager.call(send, "q2")
    kinds = [(item.get("type"), item.get("id")) for item in bodies(stub)[2]["input"]]
    assert kinds == [(None, None), ("message", None), (None, None)]


def test_other_errors_are_the_applications(stub: StubServer):
    api = APIS["openai responses"]
    manager = managed(api, "server_state")
    with api.opened(stub) as send:
        stub.script(json_reply(api.answer("a1", 1)))
        manager.call(send, "q1")
        stub.script(json_reply({"error": {"message": "slow down", "type": "rate", "code": "rate"}}, 429))
        with pytest.raises(openai.RateLimitError):
            manager.call(send, "q2")
        assert len(stub.requests) == 1
        stub.script(json_reply(api.answer("a2", 2)))
        manager.call(send, "q2")
    assert texts(bodies(stub)[0]["input"]) == ["q2"]
    assert bodies(stub)[0]["previous_response_id"] == "resp_1"


def test_a_tool_loop_that_loses_its_state(stub: StubServer, recorder: Recorder):
    """In a block the application asks ``falls_back`` itself, and goes on from the new state."""
    api = APIS["openai responses"]
    manager = managed(api, "server_state")
    stub.script(
        json_reply(api.answer("a1", 1)),
        LOST["openai responses"][0],
        json_reply(api.asking(2)),
        json_reply(api.answer("a2", 3)),
    )
    with api.opened(stub) as send:
        manager.call(send, "q1")
        with manager.turn("q2") as turn:
            with pytest.raises(openai.NotFoundError) as lost:
                send(**turn.arguments())
            assert turn.falls_back(lost.value)
            assert not turn.falls_back(lost.value)  # once in a turn
            turn.answer(send(**turn.arguments()))
            turn.add(api.result)
            turn.answer(send(**turn.arguments()))
    assert [texts(body["input"]) for body in bodies(stub)][1:] == [["q2"], ["q1", "a1", "q2"], ["result"]]
    assert bodies(stub)[3]["previous_response_id"] == "resp_2"
    assert [row["managed_strategy"] for row in recorder.rows()] == [
        "server_state",
        "server_state",
        "full_history",
        "server_state",
    ]


def test_autos_reasoning_is_recorded(stub: StubServer, capture: Recorder):
    api = APIS["anthropic messages"]
    capture.hosts = {stub.host: "anthropic"}
    capture.on()
    manager = managed(api, "auto", model="claude-x", system="word " * 1000)
    stub.script(json_reply(api.answer("a1", 1)))
    with api.opened(stub) as send:
        manager.call(send, "q1")
    assert "cache_control" in json.dumps(bodies(stub)[0])
    row = capture.row()
    assert row["managed_strategy"] == "cached_history"
    assert row["strategy_reason"].startswith("auto: Prompts are cached (explicit and automatic).")


def test_async(stub: StubServer, recorder: Recorder):
    api = APIS["openai responses"]

    async def summarise(messages: list[Any]) -> str:
        await asyncio.sleep(0)
        return f"{len(messages)} messages"

    async def talk() -> None:
        manager = managed(api, "summary", window=1, summarise_over=2, summarise=summarise)
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{stub.url}/v1", max_retries=0) as client:
            stub.script(*(json_reply(api.answer(f"a{n}", n)) for n in (1, 2)))
            await manager.acall(lambda **arguments: client.responses.create(model="gpt-x", **arguments), "q1")
            async with manager.turn("q2") as turn:
                turn.answer(await client.responses.create(model="gpt-x", **turn.arguments()))

    asyncio.run(talk())
    assert bodies(stub)[1]["input"][0]["content"] == "Summary of the earlier conversation:\n3 messages"
    rows = recorder.rows()
    assert [(row["conversation_id"], row["managed_strategy"]) for row in rows] == [("chat-1", "summary")] * 2


def test_async_state_that_expired(stub: StubServer):
    api = APIS["openai responses"]

    async def talk() -> None:
        manager = managed(api, "server_state")
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{stub.url}/v1", max_retries=0) as client:
            stub.script(json_reply(api.answer("a1", 1)), LOST["openai responses"][0], json_reply(api.answer("a2", 2)))
            for text in ("q1", "q2"):
                await manager.acall(lambda **arguments: client.responses.create(model="gpt-x", **arguments), text)

    asyncio.run(talk())
    assert without_reasoning([texts(body["input"]) for body in bodies(stub)]) == [["q1"], ["q2"], ["q1", "a1", "q2"]]

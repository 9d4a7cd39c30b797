"""A little app that talks to two providers: how an application uses turnledger.

All that turnledger asks of it is ``@observe`` on the functions that belong to a conversation; the provider SDKs are
used as ever. In an application of your own it reads ``import turnledger`` and ``@turnledger.observe(...)``.

What it asks is what was asked when the answers were recorded.
"""

# ruff: noqa: ARG001  the decorator reads chat_id and user_id, the functions need not

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from ...instrument.observe import observe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthropic import Anthropic
    from openai import OpenAI


@observe(conversation="chat_id", user="user_id")
def support_chat(client: OpenAI, chat_id: str, user_id: str, questions: Sequence[str]) -> str:
    """Chat completions over several turns: every request carries the whole conversation."""
    messages: list[Any] = [{"role": "system", "content": "You are a helpful assistant. Keep your responses brief."}]
    for question in questions:
        messages.append({"role": "user", "content": question})
        completion = client.chat.completions.create(model="gpt-4.1", messages=messages, temperature=0.0, seed=42)
        messages.append({"role": "assistant", "content": completion.choices[0].message.content})
    return messages[-1]["content"]


@observe(conversation="chat_id", user="user_id")
def quick_answer(client: OpenAI, chat_id: str, user_id: str, question: str) -> str | None:
    """One chat completion. If the provider says 429, the SDK tries again: two attempts, one call."""
    completion = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": question}])
    return completion.choices[0].message.content


@observe(conversation="chat_id", user="user_id")
def tool_chat(client: OpenAI, chat_id: str, user_id: str, question: str) -> str | None:
    """Chat completions with tools: one question of the user, several calls until it is answered."""
    messages: list[Any] = [{"role": "user", "content": question}]
    while True:
        completion = client.chat.completions.create(model="gpt-4o-mini", messages=messages, tools=_FICTION_TOOLS)
        said = completion.choices[0].message
        messages.append(said.model_dump(include={"role", "content", "tool_calls"}, exclude_none=True))
        if not said.tool_calls:
            return said.content
        for call in said.tool_calls:
            if call.type == "function":
                result = _FICTION[call.function.name]
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


@observe(conversation="chat_id", user="user_id")
def research(client: OpenAI, chat_id: str, user_id: str, questions: Sequence[str]) -> str:
    """Responses with a tool, chained by ``previous_response_id``: the provider keeps the conversation."""
    previous, text = None, ""
    for question in questions:
        asked: list[Any] = [{"role": "user", "content": question}]
        while asked:
            response = client.responses.create(
                model="gpt-4.1", input=asked, previous_response_id=previous, tools=_CITY_TOOLS, tool_choice="auto"
            )
            asked = [
                {"type": "function_call_output", "call_id": item.call_id, "output": _city_weather(item.arguments)}
                for item in response.output
                if item.type == "function_call"
            ]
            previous, text = response.id, response.output_text
    return text


@observe(conversation="chat_id", user="user_id")
def follow_up(client: OpenAI, chat_id: str, user_id: str, model: str, questions: Sequence[str]) -> str:
    """Responses chained by ``previous_response_id``, without tools."""
    previous, text = None, ""
    for question in questions:
        response = client.responses.create(model=model, input=question, previous_response_id=previous)
        previous, text = response.id, response.output_text
    return text


@observe(conversation="chat_id", user="user_id")
def puzzle(client: OpenAI, chat_id: str, user_id: str, question: str) -> str:
    """One response of a reasoning model: most of its output is thinking, billed and not shown."""
    return client.responses.create(model="gpt-5-nano", input=question, reasoning={"effort": "low"}).output_text


@observe(conversation="chat_id", user="user_id")
def document_questions(client: Anthropic, chat_id: str, user_id: str, document: str, times: int) -> str:
    """A long document that is asked about more than once: written to the provider's cache, then read from it."""
    cached: Any = {"type": "text", "text": document, "cache_control": {"type": "ephemeral"}}
    text = ""
    for _ in range(times):
        message = client.messages.create(
            model="claude-3-5-sonnet-20240620",
            max_tokens=1024,
            system=[{"type": "text", "text": _SUMMARISE}],
            messages=[{"role": "user", "content": [cached]}],
        )
        text = _text(message)
    return text


@observe(conversation="chat_id", user="user_id")
def release_review(client: Anthropic, chat_id: str, user_id: str, questions: Sequence[str]) -> str:
    """Long standing instructions in front of every question, cached in the same way."""
    handbook: Any = {"type": "text", "text": _HANDBOOK, "cache_control": {"type": "ephemeral"}}
    text = ""
    for question in questions:
        message = client.messages.create(
            model="claude-haiku-4-5-20251001",
            max_tokens=1024,
            system=[handbook],
            messages=[{"role": "user", "content": question}],
        )
        text = _text(message)
    return text


@observe(conversation="chat_id", user="user_id")
def weather_desk(client: Anthropic, chat_id: str, user_id: str, questions: Sequence[str]) -> str:
    """Messages with a tool over several turns: the input grows with every call."""
    messages: list[Any] = []
    text = ""
    for question in questions:
        asked: list[Any] = [{"type": "text", "text": question}]
        while asked:
            messages.append({"role": "user", "content": asked})
            message = client.messages.create(
                model="claude-haiku-4-5-20251001", max_tokens=1024, messages=messages, tools=_PLACE_TOOLS
            )
            messages.append({"role": "assistant", "content": message.content})
            asked = [
                {"type": "tool_result", "tool_use_id": block.id, "content": _place_weather(block.input)}
                for block in message.content
                if block.type == "tool_use"
            ]
            text = _text(message)
    return text


@observe(conversation="chat_id", user="user_id")
def streamed_chat(client: Anthropic, chat_id: str, user_id: str, question: str) -> str:
    """Messages as streams, with a tool; identifiers and usage are in the events."""
    messages: list[Any] = [{"role": "user", "content": question}]
    while True:
        with client.messages.stream(
            model="claude-haiku-4-5-20251001", max_tokens=1024, messages=messages, tools=_VERSION_TOOLS
        ) as stream:
            text = "".join(stream.text_stream)
            message = stream.get_final_message()
        if message.stop_reason != "tool_use":
            return text
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "0.32a0"}
            for block in message.content
            if block.type == "tool_use"
        ]
        messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]


def _text(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def _city_weather(arguments: str) -> str:
    if json.loads(arguments)["city"] == "NYC":
        return "Sunny, 72F"
    return (
        'Location not recognized. The tool only supports the airport code "NYC". Call again with city="NYC".'
        "\n\nFix the errors and try again."
    )


def _place_weather(place: Any) -> str:
    return f"Current weather at {place['latitude']}, {place['longitude']}: 15°C, Wind: 10 km/h"


_SUMMARISE: Final = "You help generate concise summaries of news articles and blog posts that user sends you."
_HANDBOOK: Final = 150 * (
    "You are a meticulous release engineer for the RubyLLM project. Review every\n"
    "change for backwards compatibility, provider wire-format drift, cassette\n"
    "hygiene, and documentation accuracy before approving it for release.\n"
)
_FICTION: Final = {"lookup_population": "123124", "can_have_dragons": "true"}
_FICTION_TOOLS: Final[list[Any]] = [
    {
        "type": "function",
        "function": {
            "name": "lookup_population",
            "description": "Returns the current population of the specified fictional country",
            "parameters": {"properties": {"country": {"type": "string"}}, "required": ["country"], "type": "object"},
        },
    },
    {
        "type": "function",
        "function": {
            "name": "can_have_dragons",
            "description": "Returns True if the specified population can have dragons, False otherwise",
            "parameters": {
                "properties": {"population": {"type": "integer"}},
                "required": ["population"],
                "type": "object",
            },
        },
    },
]
_CITY_TOOLS: Final[list[Any]] = [
    {
        "type": "function",
        "name": "get_weather",
        "description": None,
        "strict": True,
        "parameters": {
            "additionalProperties": False,
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "type": "object",
        },
    }
]
_PLACE_TOOLS: Final[list[Any]] = [
    {
        "name": "weather",
        "description": "Gets current weather for a location",
        "input_schema": {
            "type": "object",
            "properties": {
                "latitude": {"type": "string", "description": "Latitude (e.g., 52.5200)"},
                "longitude": {"type": "string", "description": "Longitude (e.g., 13.4050)"},
            },
            "required": ["latitude", "longitude"],
            "additionalProperties": False,
            "strict": True,
        },
    }
]
_VERSION_TOOLS: Final[list[Any]] = [
    {
        "name": "fixed_version",
        "description": "Return a fixed test version string",
        "input_schema": {"properties": {}, "type": "object"},
    }
]

"""Responses at hand as objects and texts of every make, and what came beside them."""

from __future__ import annotations

import copy
import json
from collections import namedtuple
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from types import SimpleNamespace
from typing import Any

import anthropic
import httpx
import pytest
import turnledger
from google.genai.types import GenerateContentResponse, HttpResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel
from sdk_bodies import CHAT, CHAT_STREAM, GEMINI, MESSAGE

identifiers, metadata_of = turnledger.extract_all_identifiers, turnledger.extract_all_metadata
KEY = "sk-planted-5b1f07c2d94e4a3f8c"
PROSE = ("Grüße", "loopback", "What do you say")


def safe(*found: Any) -> None:
    """Assert that neither text nor a credential is in what was found."""
    text = json.dumps(found, ensure_ascii=False)
    assert not [word for word in (*PROSE, KEY) if word in text]


# --- objects


class Tier(Enum):
    """A closed set."""

    FAST = "fast"


class Inner(BaseModel):
    """A model within another object."""

    shard_id: str
    at: datetime = datetime(2026, 11, 23, tzinfo=UTC)


@dataclass
class Answer:
    """What an SDK that is made of dataclasses returns."""

    id: str
    content: str
    inner: Inner
    usage: dict[str, Any]
    tier: Tier = Tier.FAST
    parts: tuple[Any, ...] = ()
    price: Decimal = Decimal("0.5")
    blob: bytes = b"\x00\x01"
    more: list[Any] = field(default_factory=list[Any])


class WithToDict:
    """What an SDK that writes its own ``to_dict`` returns."""

    def to_dict(self) -> dict[str, Any]:
        """Return the document."""
        return {"id": "r-1", "inner": {"shard_id": "s-1"}}


class Older:
    """A pydantic model of the first version, as far as it shows."""

    __fields__ = ("id",)

    def dict(self, **options: Any) -> dict[str, Any]:
        """Return the document."""
        assert options == {"by_alias": True, "exclude_unset": True}
        return {"id": "r-1", "inner": {"shard_id": "s-1"}}


class Slotted:
    """An object with attributes and nothing else."""

    def __init__(self) -> None:
        self.id, self.inner, self._hidden = "r-1", SimpleNamespace(shard_id="s-1"), KEY


Pair = namedtuple("Pair", ["id", "inner"])  # noqa: PYI024  as some SDKs have it

OBJECTS = {
    "dataclass": Answer("r-1", PROSE[0], Inner(shard_id="s-1"), {"input_tokens": 3}),
    "to_dict": WithToDict(),
    "older pydantic": Older(),
    "attributes": Slotted(),
    "named tuple": Pair("r-1", {"shard_id": "s-1"}),
    "namespace": SimpleNamespace(id="r-1", inner=SimpleNamespace(shard_id="s-1")),
    "dict of objects": {"id": "r-1", "inner": Inner(shard_id="s-1")},
    "text": '{"id": "r-1", "inner": {"shard_id": "s-1"}}',
    "bytes": b'{"id": "r-1", "inner": {"shard_id": "s-1"}}',
    "byte array": bytearray(b'{"id": "r-1", "inner": {"shard_id": "s-1"}}'),
    "text with a mark": '\ufeff{"id": "r-1", "inner": {"shard_id": "s-1"}}',
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_object_of_any_make(kind: str):
    assert identifiers(OBJECTS[kind], provider="anthropic") == {
        "response_id": ["r-1"],
        "undocumented:response.inner.shard_id": ["s-1"],
    }
    kept = metadata_of(OBJECTS[kind], provider="anthropic")
    safe(kept)
    assert kept["inner"]["shard_id"] == "s-1"


def test_values_of_every_kind_are_json():
    kept = metadata_of(OBJECTS["dataclass"], provider="anthropic")
    assert kept == {
        "id": "r-1",
        "content": "<5 chars>",
        "inner": {"shard_id": "s-1"},
        "usage": {"input_tokens": 3},
        "tier": "fast",
        "parts": [],
        "price": "0.5",
        "blob": "AAE=",
        "more": [],
    }


def test_a_circle_ends():
    node: dict[str, Any] = {"id": "r-1"}
    node["again"] = node
    assert identifiers(node, provider="anthropic")["response_id"] == ["r-1"]
    assert metadata_of(node, provider="anthropic")["id"] == "r-1"


def test_numbers_of_any_size_stay_exact():
    assert metadata_of({"id": "r-1", "big": 1 << 70, "odd": float("nan")})["big"] == 1 << 70


def test_a_stream_s_events_as_objects_and_as_dicts():
    chunks = [json.loads(chunk[6:]) for part in CHAT_STREAM for chunk in part.split(b"\n") if chunk[:7] == b"data: {"]
    for events in (chunks, [ChatCompletionChunk.model_validate(chunk) for chunk in chunks]):
        found, kept = identifiers(events, provider="openai"), metadata_of(events, provider="openai")
        safe(found, kept)
        assert (found["response_id"], found["system_fingerprint"]) == ([CHAT["id"]], [CHAT["system_fingerprint"]])
        assert (kept["events"], kept["last"]["usage"]) == (len(chunks), CHAT["usage"])


def test_a_stream_as_text():
    found, kept = identifiers(b"".join(CHAT_STREAM)), metadata_of(b"".join(CHAT_STREAM).decode(), provider="openai")
    safe(found, kept)
    assert found["response_id"] == [CHAT["id"]]
    assert kept["ended"] is True


def test_names_that_python_spells_are_read_as_those_of_the_wire():
    body = {"candidates": [{"finish_reason": "STOP"}], "model_version": "m", "response_id": "g-1"}
    usage = {"usage_metadata": {"prompt_token_count": 3, "candidates_token_count": 2}}
    for provider in ("gemini", None):
        assert identifiers({**body, **usage}, provider=provider) == {"response_id": ["g-1"]}


# --- what came beside the response


def test_headers_beside_an_object():
    response = ChatCompletion.model_validate(CHAT)
    headers = {"X-Request-Id": "req-9", "Authorization": f"Bearer {KEY}", "openai-organization": "org-1"}
    for given in (headers, httpx.Headers(headers), list(headers.items()), {"headers": headers}):
        found, kept = identifiers(response, given, "openai"), metadata_of(response, given, "openai")
        safe(found, kept)
        assert (found["request_id"], found["organization_id"]) == (["req-9"], ["org-1"])
        assert kept["response_headers"] == {"x-request-id": "req-9", "openai-organization": "org-1"}
        assert kept["response"]["id"] == CHAT["id"]


def test_other_metadata_beside_an_object():
    given = {
        "request_id": "req-9",
        "shard": {"gizmo_id": "g-1", "note": PROSE[2]},
        "status_code": 201,
        "api_key": KEY,
        "response_headers": {"x-trace-id": "t-1"},
    }
    found, kept = identifiers(dict(CHAT), given, "openai"), metadata_of(dict(CHAT), given, "openai")
    safe(found, kept)
    assert found["request_id"] == ["req-9"]
    assert found["undocumented:metadata.shard.gizmo_id"] == ["g-1"]
    assert found["undocumented:response.header.x-trace-id"] == ["t-1"]
    assert kept["status_code"] == 201
    assert kept["metadata"]["shard"] == {"gizmo_id": "g-1", "note": "<15 chars>"}


def test_headers_that_sdks_keep_inside_of_objects():
    inside = GenerateContentResponse.model_validate(GEMINI)
    inside.sdk_http_response = HttpResponse(headers={"x-trace-id": "t-1", "set-cookie": KEY})
    with_metadata = {
        **MESSAGE,
        "ResponseMetadata": {"RequestId": "r-9", "HTTPHeaders": {"x-trace-id": "t-1", "set-cookie": KEY}},
    }
    before = copy.deepcopy(with_metadata)
    for response, provider in ((inside, "gemini"), (with_metadata, "anthropic")):
        found, kept = identifiers(response, provider=provider), metadata_of(response, provider=provider)
        safe(found, kept)
        assert found["undocumented:response.header.x-trace-id"] == ["t-1"]
        assert kept["response_headers"] == {"x-trace-id": "t-1"}
    assert with_metadata == before


def test_the_request_s_id_beside_an_object():
    response = anthropic.types.Message.model_validate(MESSAGE)
    response._request_id = "req-7"
    assert identifiers(response, provider="anthropic")["request_id"] == ["req-7"]


# --- whose it is


def test_an_object_is_told_by_its_shape():
    assert identifiers(MESSAGE)["response_id"] == [MESSAGE["id"]]
    assert identifiers(GenerateContentResponse.model_validate(GEMINI))["response_id"] == [GEMINI["responseId"]]


def test_what_nobody_knows_is_swept_and_hides_what_any_provider_hides():
    odd = {"gizmo": {"id": "g-1"}, "content": "word", "arguments": {"patient_id": "p-1"}, "client_secret": KEY}
    assert identifiers(odd) == {"undocumented:response.gizmo.id": ["g-1"]}
    kept = metadata_of(odd)
    assert kept["gizmo"] == {"id": "g-1"}
    assert (kept["content"], kept["client_secret"]) == ("<4 chars>", "<redacted>")
    assert kept["arguments"] == "<20 bytes>"


def test_a_provider_that_is_named_is_believed():
    other = httpx.Response(200, json=MESSAGE, request=httpx.Request("POST", "https://gateway.test/v1/messages"))
    assert identifiers(other, provider="anthropic")["response_id"] == [MESSAGE["id"]]
    at_host = httpx.Response(200, json=MESSAGE, request=httpx.Request("POST", "https://api.openai.com/v1/odd"))
    assert identifiers(at_host, provider="anthropic")["response_id"] == [MESSAGE["id"]]


# --- mistakes


@pytest.mark.parametrize("response", [None, 7, True, [], [1], "", "prose", b"no JSON", "[1]", object(), dict, str])
def test_what_is_no_response_is_told_in_a_line(response: Any):
    for function in (identifiers, metadata_of):
        with pytest.raises(TypeError) as error:
            function(response, provider="openai")
        assert "\n" not in str(error.value)
        assert str(error.value).startswith(("the response is ", "a builtins."))


@pytest.mark.parametrize("given", [7, "text", [1], object()])
def test_what_is_no_metadata_is_told(given: Any):
    with pytest.raises(TypeError, match=r"^the metadata is |does not say what it holds$"):
        identifiers({}, given, "openai")


@pytest.mark.parametrize("function", [identifiers, metadata_of])
def test_an_unknown_provider_is_told(function: Any):
    with pytest.raises(ValueError, match=r"^no provider document 'acne'; known: .*openai"):
        function({"id": "x"}, provider="acne")


def test_an_object_that_leads_anywhere_is_read_in_bounded_time():
    everywhere = [SimpleNamespace(id=f"r-{number}") for number in range(12)]
    for node in everywhere:
        node.others = list(everywhere)  # a way through all of them for every order there is
    assert identifiers(everywhere[0], provider="anthropic")["response_id"] == ["r-0"]

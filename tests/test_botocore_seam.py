"""boto3 on loopback: signed calls, binary streams and retries are rows, and no credential reaches them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from stub_server import Reply, json_reply
from test_eventstream import chunk, event
from turnledger.instrument import health
from turnledger.instrument.exchange import REDACTED, clean_headers, clean_url

if TYPE_CHECKING:
    from conftest import Recorder
    from stub_server import StubServer

MODEL = "anthropic.claude-haiku-4-5-20251001-v1:0"
KEY_ID, SECRET, TOKEN = (
    "AKIAEXAMPLEEXAMPLE00",
    "exampleSecretKey/exampleSecretKey0000000",
    "IQoJexampleSessionToken//////////",
)
MESSAGES: list[Any] = [{"role": "user", "content": [{"text": "Say hello."}]}]
USAGE = {"inputTokens": 19, "outputTokens": 10, "totalTokens": 29}
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hello."}]}},
    "stopReason": "end_turn",
    "usage": USAGE,
    "metrics": {"latencyMs": 12},
}
CONVERSED = [
    event("messageStart", {"role": "assistant"}),
    event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello."}}),
    event("contentBlockStop", {"contentBlockIndex": 0}),
    event("messageStop", {"stopReason": "end_turn"}),
    event("metadata", {"usage": USAGE, "metrics": {"latencyMs": 12}}),
]
MESSAGE = {"id": "msg_bdrk_01", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "content": []}
INVOKED = [
    chunk({"type": "message_start", "message": {**MESSAGE, "usage": {"input_tokens": 19, "output_tokens": 1}}}),
    chunk({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 10}}),
    chunk({"type": "message_stop"}),
]
BINARY = {"content-type": "application/vnd.amazon.eventstream", "x-amzn-requestid": "r-1"}


@pytest.fixture
def client(stub: StubServer, capture: Recorder) -> Any:
    capture.hosts = {stub.host: "bedrock"}
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=stub.url,
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        aws_session_token=TOKEN,
        config=Config(retries={"total_max_attempts": 3, "mode": "standard"}),
    )


def without_clock(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without what differs from call to call."""
    return {key: value for key, value in answer.items() if key not in ("body", "stream", "ResponseMetadata")}


def test_converse(client: Any, stub: StubServer, capture: Recorder):
    stub.script(json_reply(ANSWER, x_amzn_requestid="r-1"))
    answer, rows = capture.same_with_and_without(lambda: client.converse(modelId=MODEL, messages=MESSAGES))
    assert answer["usage"] == USAGE
    assert [(row["provider"], row["surface"], row["error_type"]) for row in rows] == [("bedrock", "converse", None)]
    assert (rows[0]["request_id"], rows[0]["input_tokens"], rows[0]["output_tokens"]) == ("r-1", 19, 10)
    assert health.snapshot() == {}


def test_converse_stream(client: Any, stub: StubServer, capture: Recorder):
    stub.script(Reply(CONVERSED, 200, BINARY))
    found, rows = capture.same_with_and_without(
        lambda: list(client.converse_stream(modelId=MODEL, messages=MESSAGES)["stream"])
    )
    assert [name for one in found for name in one][-1] == "metadata"
    assert [(row["input_tokens"], row["output_tokens"], row["error_type"]) for row in rows] == [(19, 10, None)]
    assert (rows[0]["is_stream"], rows[0]["request_id"]) == (True, "r-1")
    assert rows[0]["first_chunk_ms"] > 0


def test_invoke_model(client: Any, stub: StubServer, capture: Recorder):
    body = json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": []})
    stub.script(json_reply({**MESSAGE, "usage": {"input_tokens": 19, "output_tokens": 10}}))

    def call() -> Any:
        return client.invoke_model(modelId=MODEL, body=body)["body"].read()

    _, rows = capture.same_with_and_without(call)
    assert [(row["response_id"], row["input_tokens"], row["output_tokens"]) for row in rows] == [
        ("msg_bdrk_01", 19, 10)
    ]


def test_invoke_model_with_response_stream(client: Any, stub: StubServer, capture: Recorder):
    body = json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": []})
    stub.script(Reply(INVOKED, 200, BINARY))

    def call() -> Any:
        return list(client.invoke_model_with_response_stream(modelId=MODEL, body=body)["body"])

    found, rows = capture.same_with_and_without(call)
    assert len(found) == 3
    assert [(row["response_id"], row["input_tokens"], row["output_tokens"]) for row in rows] == [
        ("msg_bdrk_01", 19, 10)
    ]


def test_a_stream_closed_early(client: Any, stub: StubServer, capture: Recorder):
    stub.script(Reply(CONVERSED, 200, BINARY, chunk_delay_s=0.1))
    capture.on()
    stream = client.converse_stream(modelId=MODEL, messages=MESSAGES)["stream"]
    assert next(iter(stream)) == {"messageStart": {"role": "assistant"}}
    stream.close()
    row = capture.row()
    assert (row["error_type"], row["input_tokens"], row["request_id"]) == ("stream_closed_early", None, "r-1")


def test_retries_of_the_sdk_are_attempts_of_one_call(client: Any, stub: StubServer, capture: Recorder):
    def call() -> Any:
        busy = json_reply({"message": "Too many requests"}, 429, x_amzn_errortype="ThrottlingException")
        stub.script(busy, busy, json_reply(ANSWER))
        first = client.converse(modelId=MODEL, messages=MESSAGES)
        stub.script(busy)
        with pytest.raises(ClientError) as caught:
            client.converse(modelId=MODEL, messages=MESSAGES)
        stub.script(json_reply(ANSWER))
        again = client.converse(modelId=MODEL, messages=MESSAGES)
        return without_clock(first), caught.value.response["Error"], without_clock(again)

    _, rows = capture.same_with_and_without(call)
    assert [(row["status_code"], row["attempt_index"]) for row in rows] == [
        *((429, 0), (429, 1), (200, 2)),
        *((429, 0), (429, 1), (429, 2)),
        (200, 0),  # it says itself that it is a first attempt: the application asked again
    ]
    assert len({row["call_id"] for row in rows}) == 3


def test_no_credential_reaches_a_row(client: Any, stub: StubServer, capture: Recorder):
    stub.script(json_reply(ANSWER))
    capture.on(capture_content=True)
    client.converse(modelId=MODEL, messages=MESSAGES)
    row = capture.row()
    sent = {name.lower(): value for name, value in stub.requests[0].headers.items()}
    signature = sent["authorization"].rpartition("Signature=")[2]
    assert sent["x-amz-security-token"] == TOKEN
    for secret in (KEY_ID, SECRET, TOKEN, signature):
        assert secret not in json.dumps(row, default=str)


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "X-Amz-Security-Token",
        "x-amzn-bedrock-agentcore-auth-token",
        "X-Amz-Signature",
        "X-Amz-Credential",
    ],
)
def test_headers_of_signed_requests_are_dropped(name: str):
    assert clean_headers([(name, "AWS4-HMAC-SHA256 Credential=AKIA/x"), ("X-Amz-Date", "20261123T000000Z")]) == (
        ("x-amz-date", "20261123T000000Z"),
    )


def test_signed_urls_lose_their_credentials():
    signed = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{KEY_ID}/20261123/us-east-1/bedrock/aws4_request",
        "X-Amz-Security-Token": TOKEN,
        "X-Amz-Signature": "0123456789abcdef",
    }
    query = "&".join(f"{key}={value}" for key, value in signed.items())
    assert clean_url(f"https://example.com/model?{query}") == (
        "https://example.com/model?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        f"&X-Amz-Credential={REDACTED}&X-Amz-Security-Token={REDACTED}&X-Amz-Signature={REDACTED}"
    )

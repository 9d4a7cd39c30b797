"""How many tokens an aborted attempt is billed, by what was seen of it, and how that is said."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
import turnledger
from hypothesis import given, settings
from hypothesis import strategies as st
from sdk_bodies import CHAT, CHAT_STREAM, MESSAGE_STREAM
from store_rows import NOON, call_row
from stub_server import Reply, json_reply, sse_reply
from test_outcomes import CUT, SILENT, read, sizes
from test_sdks import CHAT_ASKED, CHAT_STREAM_ASKED, MESSAGES_ASKED, anthropic_client, openai_client

if TYPE_CHECKING:
    from pathlib import Path

    from stub_server import StubServer


def estimate(folder: Path, *rows: dict[str, Any]) -> tuple[Any, ...] | None:
    """Return what is estimated of the attempt ``x`` among these rows: tokens in, out and the rule."""
    found = read(folder, rows, "select input_tokens, output_tokens, rule from estimates where span_id = 'x'")
    return found[0] if found else None


def cut(**said: Any) -> dict[str, Any]:
    """Return the attempt ``x``, a stream that its caller closed."""
    return call_row(**{**CUT, "span_id": "x", "message_sizes": sizes(), **said})


def whole(count: int = 20, **said: Any) -> list[dict[str, Any]]:
    """Return complete calls: 2 bytes a token of 500 sent, 5 of 400 answered."""
    said = {"input_tokens": 250, "output_tokens": 90, "reasoning_tokens": 10, **said}
    return [call_row(**{"message_sizes": sizes(500, 400), **said}) for _ in range(count)]


MEDIAN = "a token, the median of 20 calls of this model"
USUAL = "bytes at 4.0 a token, the usual figure"


def test_nothing_known_but_bytes(tmp_path: Path):
    assert estimate(tmp_path, cut()) == (10, 5, f"input by 40 {USUAL}; output by 20 {USUAL}")


def test_twenty_calls_of_the_model_are_measured(tmp_path: Path):
    assert estimate(tmp_path / "19", *whole(19), cut()) == (10, 5, f"input by 40 {USUAL}; output by 20 {USUAL}")
    assert estimate(tmp_path / "20", *whole(20), cut()) == (
        20,
        4,
        (
            "input by 40 bytes at 2.0 a token, the median of 20 calls of this model; "
            "output by 20 bytes at 5.0 a token, the median of 20 calls of this model"
        ),
    )


def test_else_twenty_of_the_provider(tmp_path: Path):
    found = estimate(tmp_path, *whole(12), *whole(8, request_model="gpt-5"), cut())
    assert found is not None
    assert found[:2] == (20, 4)
    assert found[2].endswith("the median of 20 calls to this provider")


@pytest.mark.parametrize(
    "said",
    [
        {"provider": "anthropic"},
        {"error_type": "stream_closed_early", "finish_reasons": None},
        {"message_sizes": sizes(399, 399)},
        {"message_sizes": sizes(500, 399, media=1)},
        {"message_sizes": None},
    ],
    ids=["another provider's", "not complete", "too short", "with media", "of unknown size"],
)
def test_what_is_not_measured(said: dict[str, Any], tmp_path: Path):
    assert estimate(tmp_path, *whole(25, **said), cut()) == (10, 5, f"input by 40 {USUAL}; output by 20 {USUAL}")


def test_what_was_reported_is_taken(tmp_path: Path):
    found = estimate(tmp_path, cut(input_tokens=17, output_tokens=1))
    assert found == (17, 5, f"input as reported; output by 20 {USUAL}")
    found = estimate(tmp_path / "2", cut(input_tokens=17, output_tokens=9))
    assert found == (17, 9, "input as reported; output as reported so far")


def test_the_same_request_tells_its_input(tmp_path: Path):
    same = {"request_digest": "d", "system_digest": "s"}
    first = cut(call_id="x", **same)
    again = call_row(call_id="x", attempt_index=1, input_tokens=33, **same)
    expected = (33, 5, f"input as of the same request; output by 20 {USUAL}")
    assert estimate(tmp_path, first, again) == expected
    assert estimate(tmp_path / "2", first, {**again, "request_model": "gpt-5"}) != expected
    assert estimate(tmp_path / "3", first, {**again, "system_digest": "t"}) != expected


def test_the_call_before_tells_the_history(tmp_path: Path):
    before = call_row(
        call_id="b",
        span_id="b",
        answer_digests=["b"],
        started_at=NOON,
        input_tokens=1000,
        output_tokens=70,
        reasoning_tokens=20,
    )
    after = cut(prefix_digests=["b"], message_sizes=sizes(40, 20, earlier=9999), started_at=NOON + timedelta(hours=1))
    rule = f"input as of the call before and its answer, and 40 {USUAL}; output by 20 {USUAL}"
    assert estimate(tmp_path, before, after) == (1060, 5, rule)
    chained = cut(previous_response_id="r", provider="openai")
    assert estimate(tmp_path / "2", {**before, "response_id": "r"}, chained) == (1060, 5, rule)
    assert estimate(tmp_path / "3", {**before, "request_model": "gpt-5"}, after) == (
        2510,  # not of the same model: all by its bytes
        5,
        f"input by 10039 {USUAL}; output by 20 {USUAL}",
    )


@pytest.mark.parametrize(
    "said",
    [
        SILENT,
        {"provider": "groq"},
        {"status_code": 429, "error_type": "429"},
        {"error_type": "ReadTimeout", "status_code": None},
        {"message_sizes": None},
        {"message_sizes": sizes(media=1)},
        {"previous_response_id": "gone"},
        {"provider_conversation_id": "conv"},
    ],
    ids=[
        "unknown",
        "whole answer",
        "429",
        "no answer",
        "nothing seen",
        "media",
        "state",
        "conversation",
    ],
)
def test_what_is_not_estimated(said: dict[str, Any], tmp_path: Path):
    assert estimate(tmp_path, *whole(20), cut(**said)) is None


def test_a_bill_that_may_be_higher_says_so(tmp_path: Path):
    found = estimate(tmp_path, cut(provider="openrouter", message_sizes=sizes(answered=None)))
    assert found == (10, 0, f"at least: input by 40 {USUAL}; output none seen")


SIZES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "tool", "system", "earlier", None]),
            "messages": st.just(1),
            "size": st.none() | st.integers(-5, 5000) | st.just(1 << 62),
            "media": st.none() | st.integers(0, 1),
            "digest": st.none(),
        }
    ),
    max_size=4,
)
ATTEMPTS = st.lists(
    st.fixed_dictionaries(
        {
            "message_sizes": st.none() | SIZES,
            "input_tokens": st.none() | st.integers(-2, 900),
            "output_tokens": st.none() | st.integers(-2, 900),
            "request_digest": st.sampled_from(["d", "e", None]),
            "error_type": st.sampled_from([None, "stream_closed_early", "ReadTimeout", "429"]),
            "finish_reasons": st.sampled_from([None, ["stop"]]),
            "status_code": st.sampled_from([200, 429, None]),
            "is_stream": st.booleans(),
            "provider": st.sampled_from(["openai", "openrouter", "writer", None]),
        }
    ),
    max_size=8,
)


@settings(max_examples=10)
@given(ATTEMPTS, st.randoms(use_true_random=False))
def test_no_estimate_is_negative_or_depends_on_order(
    tmp_path_factory: pytest.TempPathFactory, said: list[dict[str, Any]], shuffler: Any
):
    rows = [call_row(span_id=f"s{number}", **facts) for number, facts in enumerate(said)]
    folder = tmp_path_factory.mktemp("stores")
    query = "select * from estimates order by span_id"
    found = read(folder / "a", rows, query)
    shuffler.shuffle(rows)
    assert read(folder / "b", rows, query) == found
    assert all(row[2] >= 0 and row[3] >= 0 and row[4] for row in found)
    outcomes = read(folder / "c", rows, "select span_id, outcome, is_billed, billed from outcomes")
    assert sorted(row[0] for row in outcomes) == sorted(row["span_id"] for row in rows)
    assert all(row[2] is (None if row[3] is None else row[3] != "nothing") for row in outcomes)
    assert {row[0] for row in found} <= {row[0] for row in outcomes if row[2]}


# --- real streams

ENDS = "select outcome, is_billed from outcomes"


@pytest.fixture
def capture_into(stub: StubServer, tmp_path: Path) -> Any:
    """Switch capture into a store on, the stub being a provider; off again at the end."""

    def on(provider: str) -> Path:
        turnledger.instrument(store=tmp_path / "live", hosts={stub.host: provider})
        return tmp_path / "live"

    yield on
    turnledger.uninstrument()


def test_a_stream_that_a_real_client_closed(stub: StubServer, capture_into: Any):
    store = capture_into("openai")
    stub.script(json_reply(CHAT), sse_reply(CHAT_STREAM, chunk_delay_s=0.05))
    with openai_client(stub) as client:
        client.chat.completions.create(**CHAT_ASKED)
        stream = client.chat.completions.create(**CHAT_STREAM_ASKED)
        next(piece for piece in stream if piece.choices[0].delta.content)
        stream.close()
    assert turnledger.flush(10)
    with turnledger.open(store) as ledger:
        assert sorted(ledger.sql(ENDS).rows()) == [("aborted", True), ("complete", True)]
        ((given, answered, rule),) = ledger.sql("select input_tokens, output_tokens, rule from estimates").rows()
        # "Grüße from " are 13 bytes, the whole answer 26: 4 or 7 tokens, by how much had come
        assert (given, answered in (4, 7)) == (19, True)
        assert rule.startswith("input as of the same request; output by ")


def test_a_stream_that_another_real_client_was_cancelled_in(stub: StubServer, capture_into: Any):
    store = capture_into("anthropic")
    stub.script(sse_reply(MESSAGE_STREAM, chunk_delay_s=0.05))
    with anthropic_client(stub) as client:
        stream = client.messages.create(**MESSAGES_ASKED, stream=True)
        next(piece for piece in stream if piece.type == "content_block_delta")
        stream.close()
    assert turnledger.flush(10)
    with turnledger.open(store) as ledger:
        assert ledger.sql(ENDS).rows() == [("aborted", True)]
        reported = ledger.sql("select input_tokens from spans where call_id is not null").item()
        assert reported > 0
        ((given, answered, rule),) = ledger.sql("select input_tokens, output_tokens, rule from estimates").rows()
        assert (given, rule.partition(";")[0]) == (reported, "input as reported")
        assert answered > 0


def test_a_task_cancelled_and_a_request_that_timed_out(stub: StubServer, capture_into: Any):
    store = capture_into("openai")

    async def run() -> None:
        async with openai_client(stub, openai.AsyncOpenAI) as client:
            stream = await client.chat.completions.create(**CHAT_STREAM_ASKED)
            first = asyncio.Event()

            async def read_on() -> None:
                async for _ in stream:
                    first.set()

            task = asyncio.create_task(read_on())
            await asyncio.wait_for(first.wait(), 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    stub.script(sse_reply(CHAT_STREAM, chunk_delay_s=20))
    asyncio.run(run())
    stub.script(Reply(b"{}", delay_s=20))
    with openai_client(stub, timeout=0.2) as client, pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(**CHAT_ASKED)
    with httpx.Client(base_url=stub.url) as client:
        stub.script(json_reply({"error": {"type": "rate_limit"}}, 429))
        client.post("/v1/chat/completions", json=CHAT_ASKED)
    assert turnledger.flush(10)
    with turnledger.open(store) as ledger:
        found = ledger.sql("select outcome, is_billed from outcomes order by outcome").rows()
        assert found == [("aborted", True), ("error", False), ("timeout", None)]
        assert ledger.sql("select span_id from estimates").height == 1

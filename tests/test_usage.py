"""Usage: inclusive buckets from what providers really report, nothing made up, nothing added that is cumulative."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_exchanges import SURFACES, facts
from turnledger.instrument.documents import parse_documents
from turnledger.instrument.usage import Usage, UsageRules, read_usage
from usage_bodies import RECORDED

COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


@pytest.mark.parametrize(("surface", "response", "expected"), RECORDED, ids=[item[0] for item in RECORDED])
def test_what_providers_report_becomes_inclusive_buckets(surface: str, response: Any, expected: tuple[int | None, ...]):
    usage = facts(surface, response).usage
    assert tuple(getattr(usage, name) for name in COUNTS) == expected
    assert usage.problems == ()
    parts = sum(getattr(usage, name) or 0 for name in ("cache_read_tokens", "cache_write_tokens"))
    assert parts <= (usage.input_tokens or 0)
    assert (usage.reasoning_tokens or 0) <= (usage.output_tokens or usage.reasoning_tokens or 0)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("response", [{}, {"usage": None}, {"usage": {}}, {"usageMetadata": {}}, [], b"", b"no JSON"])
def test_what_is_not_reported_is_unknown_never_0(surface: str, response: Any):
    found = facts(surface, response)
    assert found.usage == Usage()
    assert found.raw_usage is None


def test_figures_are_kept_as_they_came():
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "new_figure": {"x": [0.5, None]}, "speed": "fast"}
    found = facts("openai/chat.completions", {"usage": usage})
    assert found.raw_usage == usage
    leaking = facts("openai/chat.completions", {"usage": {"prompt_tokens": 1, "note": "what the user said"}})
    assert leaking.raw_usage == {"prompt_tokens": 1, "note": "<18 chars>"}


@pytest.mark.parametrize(
    ("surface", "usage", "problems"),
    [
        (  # as an upstream of the router reported it: the prefix counts as written and as read
            "openrouter/chat.completions",
            {
                "prompt_tokens": 2168,
                "completion_tokens": 100,
                "prompt_tokens_details": {"cache_write_tokens": 2161, "cached_tokens": 2161},
            },
            ("cache reads and writes (4322) exceed input_tokens (2168)",),
        ),
        (
            "openrouter/chat.completions",
            {"prompt_tokens": 43, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 11}},
            ("reasoning_tokens (11) exceed output_tokens (10)",),
        ),
        (
            "anthropic/messages",
            {
                "input_tokens": 1,
                "output_tokens": 1,
                "cache_creation_input_tokens": 5,
                "cache_creation": {"ephemeral_1h_input_tokens": 6},
            },
            ("cache writes by TTL (6) exceed cache_write_tokens (5)",),
        ),
    ],
)
def test_contradictions_are_told_and_not_mended(surface: str, usage: dict[str, Any], problems: tuple[str, ...]):
    assert facts(surface, {"usage": usage}).usage.problems == problems


def test_cache_writes_are_told_by_their_lifetime():
    details = {"cached_tokens": 10, "cache_write_tokens": 30}
    details["cache_write_tokens_details"] = {"ttl_30m_tokens": 10, "ttl_12h_tokens": 20}  # type: ignore[assignment]
    usage = {"input_tokens": 100, "output_tokens": 1, "input_tokens_details": details}
    assert facts("openai/responses", {"usage": usage}).usage.cache_write_by_ttl == {"30m": 10, "12h": 20}
    split = {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}
    claude = facts(
        "anthropic/messages", {"usage": {"input_tokens": 1, "output_tokens": 1, "cache_creation": split}}
    ).usage
    assert (claude.cache_write_by_ttl, claude.cache_write_tokens) == ({"5m": 3, "1h": 4}, 7)


def test_modalities_are_counted_apart():
    usage = {
        "promptTokenCount": 17713,
        "cachedContentTokenCount": 17379,
        "candidatesTokenCount": 68,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 16},
            {"modality": "VIDEO", "tokenCount": 15780},
            {"modality": "AUDIO", "tokenCount": 1917},
        ],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 1881}, {"modality": "VIDEO", "tokenCount": 15483}],
    }
    details = facts("gemini/generate_content", {"usageMetadata": usage}).usage.details
    assert details == {"input_video_tokens": 15780, "input_audio_tokens": 1917, "cache_read_audio_tokens": 1881}


def test_what_is_billed_outside_the_totals_is_counted_apart():
    """The iterations of a recorded call: two of the model asked, one of its advisor; and one that compacts."""
    usage = {
        "input_tokens": 2390,
        "output_tokens": 121,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "iterations": [
            {"type": "message", "input_tokens": 1128, "output_tokens": 110},
            {
                "type": "advisor_message",
                "model": "m-2",
                "input_tokens": 2518,
                "output_tokens": 22,
                "cache_read_input_tokens": 5,
            },
            {"type": "compaction", "input_tokens": 700, "output_tokens": 90},
            {"type": "message", "input_tokens": 1262, "output_tokens": 11},
        ],
    }
    found = facts("anthropic/messages", {"usage": usage}).usage
    assert (found.input_tokens, found.output_tokens) == (2390, 121)
    assert found.details == {
        "beside_advisor_input_tokens": 2523,
        "beside_advisor_output_tokens": 22,
        "beside_compaction_input_tokens": 700,
        "beside_compaction_output_tokens": 90,
    }


def test_hosted_tools_are_counted_beside_the_tokens():
    response = {
        "usage": {"input_tokens": 8576, "output_tokens": 52, "total_tokens": 8628},
        "tool_usage": {"web_search": {"num_requests": 1}, "image_gen": {"input_tokens": 7, "output_tokens": 9}},
    }
    found = facts("openai/responses", {"response": response, "type": "response.completed"}).usage
    assert (found.input_tokens, found.output_tokens) == (8576, 52)
    assert found.details["web_search_requests"] == 1
    assert (found.details["beside_image_tool_input_tokens"], found.details["beside_image_tool_output_tokens"]) == (7, 9)


_FIGURE = st.integers(0, 10**9)


@given(st.lists(st.tuples(_FIGURE, _FIGURE, _FIGURE), min_size=1, max_size=8))
def test_streams_end_with_their_last_figures_whatever_came_before(figures: list[tuple[int, int, int]]):
    prompt, candidates, thoughts = figures[-1]
    chunks = [
        {"usageMetadata": {"promptTokenCount": a, "candidatesTokenCount": b, "thoughtsTokenCount": c}}
        for a, b, c in figures
    ]
    usage = facts("gemini/stream_generate_content", chunks).usage
    assert (usage.input_tokens, usage.output_tokens) == (prompt, candidates + thoughts)
    deltas = [{"type": "message_delta", "usage": {"output_tokens": b}} for _, b, _ in figures]
    start = {
        "type": "message_start",
        "message": {"usage": {"input_tokens": 7, "output_tokens": 1, "cache_read_input_tokens": 3}},
    }
    merged = facts("anthropic/messages", [start, *deltas]).usage
    assert (merged.input_tokens, merged.cache_read_tokens, merged.output_tokens) == (10, 3, candidates)
    completed = [
        {"type": "response.in_progress", "response": {"usage": {"input_tokens": a, "output_tokens": b}}}
        for a, b, _ in figures
    ]
    responses = facts("openai/responses", completed).usage
    assert (responses.input_tokens, responses.output_tokens) == (prompt, candidates)


def test_a_chat_stream_reports_on_its_last_chunk():
    chunk = {"id": "c", "choices": [{"delta": {"content": "a"}}], "usage": None}
    last = {"id": "c", "choices": [], "usage": {"prompt_tokens": 57, "completion_tokens": 17}}
    usage = facts("openai/chat.completions", [chunk, chunk, last]).usage
    assert (usage.input_tokens, usage.output_tokens) == (57, 17)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "input_tokens": _FIGURE,
            "cache_read_input_tokens": _FIGURE,
            "cache_creation_input_tokens": _FIGURE,
            "output_tokens": _FIGURE,
        },
    )
)
def test_input_includes_what_was_cached(reported: dict[str, int]):
    usage = facts("anthropic/messages", {"usage": reported}).usage
    if "input_tokens" in reported:
        assert usage.input_tokens == sum(figure for name, figure in reported.items() if name != "output_tokens")
    else:
        assert usage.input_tokens is None
    assert usage.output_tokens == reported.get("output_tokens")
    assert usage.problems == ()


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (8.1e-05, "0.000081"),
        (0.1, "0.1"),
        (0, "0"),
        (1.4e-07, "1.4E-7"),
        ("0.25", "0.25"),
        (3, "3"),
        (None, None),
        (True, None),
        (-1, None),
        (float("1e12"), None),
        ("NaN", None),
        ("free", None),
        ([1], None),
    ],
)
def test_the_bill_is_exact_or_unknown(cost: Any, expected: str | None):
    billed = facts("openrouter/chat.completions", {"usage": {"prompt_tokens": 1, "cost": cost}}).usage.billed_cost_usd
    assert billed == (None if expected is None else Decimal(expected))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"is_byok": False, "cost": 0.5, "cost_details": {"upstream_inference_cost": 0.4}}, "0.5"),
        ({"is_byok": True, "cost": 0, "cost_details": {"upstream_inference_cost": 0.0003253}}, "0.0003253"),
        ({"is_byok": True, "cost": 0.00001, "cost_details": {"upstream_inference_cost": 0.0002}}, "0.00021"),
        ({"is_byok": True, "cost": 0, "cost_details": {"upstream_inference_cost": None}}, None),
        ({"is_byok": True, "cost": 0}, None),
    ],
)
def test_what_is_paid_to_the_upstream_is_part_of_the_bill(said: dict[str, Any], expected: str | None):
    billed = facts("openrouter/chat.completions", {"usage": {"prompt_tokens": 1, **said}}).usage.billed_cost_usd
    assert billed == (None if expected is None else Decimal(expected))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "usage",
                    "usageMetadata",
                    "input_tokens",
                    "prompt_tokens",
                    "output_tokens",
                    "cost",
                    "iterations",
                    "type",
                    "message",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(_JSON, max_size=4), st.sampled_from(SURFACES))
def test_no_body_makes_reading_usage_raise(documents: list[Any], surface: str):
    usage = facts(surface, documents).usage
    for name in COUNTS:
        count = getattr(usage, name)
        assert count is None or 0 <= count < 1 << 63


def test_no_rules_read_nothing():
    assert read_usage([{"usage": {"input_tokens": 1}}], UsageRules()) == Usage()


# --- what a document can say of its figures


def reported(rules: str, *documents: Any) -> Usage:
    """Return the usage that a surface of a document written for the test reads from the documents of a response."""
    text = (
        '+++\nid = "acme"\nname = "Acme"\nhosts = ["api.acme.test"]\n[[surface]]\nname = "run"\noperation = "chat"\n'
        f'path = "/run"\n[surface.usage]\ninput_tokens = "in"\noutput_tokens = "out"\n{rules}\n+++\n# Acme\n'
    )
    surface = parse_documents({"acme.md": text})[0].surfaces[0]
    return read_usage(documents, surface.usage)


def test_counts_may_stand_beside_the_answer():
    usage = reported('at = "$"', {"text": "hi", "done": False}, {"in": 5, "out": 7, "text": "there", "done": True})
    assert (usage.input_tokens, usage.output_tokens) == (5, 7)
    assert usage.raw == {"in": 5, "out": 7}
    assert reported('at = "$"', {"text": "hi", "done": True}) == Usage()


def test_calls_of_their_own_are_added_up_in_every_part():
    events = ({"u": {"in": 5, "details": {"a": 1, "b": 2}}}, {"u": {"in": 4, "details": {"a": 3}}}, {"u": {"out": 2}})
    assert reported('at = "u"\nmerge = "sum"', *events).raw == {"in": 9, "details": {"a": 4, "b": 2}, "out": 2}


def test_usage_that_stands_apart_is_counted_once_however_often_a_stream_repeats_it():
    item = {"items": [{"extra": {"n": 3}}, {"extra": {"n": 4}}, {"extra": None}]}
    rules = 'at = "u"\nbeside = { apart = "items[].extra" }\ndetails = { beside_n = "apart[].n" }'
    usage = reported(rules, {"items": [{"extra": {"n": 3}}]}, item, {"u": {"in": 1, "out": 1}, **item}, {"items": []})
    assert usage.details == {"beside_n": 7}
    assert usage.raw == {"in": 1, "out": 1, "apart": [{"n": 3}, {"n": 4}]}
    assert reported(rules, {"u": {"in": 1}}).details == {}


def test_later_figures_replace_earlier_ones_unless_the_document_says_otherwise():
    events = ({"u": {"in": 5, "out": 1}}, {"u": {"in": 0, "out": 7}}, {"u": {"out": 3}})
    assert reported('at = "u"', *events).raw == {"in": 0, "out": 3}
    assert reported('at = "u"\nmerge = "max"', *events).raw == {"in": 5, "out": 7}
    assert reported('at = "u"\nmerge = "last"', *events).raw == {"out": 3}
    assert reported('at = "$"\nmerge = "last"', {"in": 5, "out": 1}, {"done": True}).raw == {"in": 5, "out": 1}


@pytest.mark.parametrize("surface", ["openai/conversations", "openai/threads.messages"])
def test_a_request_that_runs_no_model_uses_no_tokens_and_begins_no_turn(surface: str):
    found = facts(surface, {"id": "obj-1", "usage": {"prompt_tokens": 9, "input_tokens": 9}})
    assert found.usage == Usage()
    assert found.continues_turn is True

"""A call that is recorded twice is billed once: which records are one response, which call is behind which gateway."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import turnledger
from hypothesis import given, settings
from hypothesis import strategies as st
from store_rows import NOON, call_row, write_store

if TYPE_CHECKING:
    import random
    from pathlib import Path

Link = tuple[str, str, str]


def links(folder: Path, rows: list[dict[str, Any]]) -> list[Link]:
    """Return what the ledger of these rows links: call, bill and reason."""
    with turnledger.open(write_store(folder, rows).root) as ledger:
        return ledger.sql("select call_id, billed_call_id, reason from duplicates order by call_id").rows()


def row(name: str, begins: float = 0.0, ends: float = 2.0, **said: Any) -> dict[str, Any]:
    """Return a call by its name, from one second after noon to another."""
    times = {"started_at": NOON + timedelta(seconds=begins), "ended_at": NOON + timedelta(seconds=ends)}
    return call_row(**{"span_id": name, "response_id": "r1", "request_digest": "d1", **times, **said})


def recorded(name: str, source: str, **said: Any) -> dict[str, Any]:
    """Return the same of a recording, of unknown time."""
    return row(name, source=source, **{"started_at": None, "ended_at": None, **said})


SAME = [
    ("one seam below another", [row("a"), row("b", 0.1, 1.9)], "a"),
    ("the one that says what was billed", [row("a"), row("b", 0.1, 1.9, billed_cost_usd=1)], "b"),
    ("the one that has usage", [row("a", input_tokens=None, output_tokens=None), row("b", 0.1, 1.9)], "b"),
    (
        "one that was closed before its end",
        [row("a", error_type="CancelledError", output_tokens=1), row("b", 0.1, 1.9)],
        "a",
    ),
    ("an import of what was seen live", [recorded("a", "x.har#4"), row("b")], "b"),
    ("an import without its request", [recorded("a", "x.jsonl#4", request_digest=None), row("b")], "b"),
    ("two recordings", [recorded("a", "x.har#4"), recorded("b", "y.har#9")], "a"),
    ("two entries of one moment", [row("a", 0, 0, source="x.har#4"), row("b", 0, 0, source="x.har#5")], "a"),
]
APART = [
    ("another time", [row("a"), row("b", 3, 5)]),
    ("another response", [row("a"), row("b", 0.1, 1.9, response_id="r2")]),
    ("another provider", [row("a"), row("b", 0.1, 1.9, provider="anthropic", surface="messages")]),
    ("another request", [row("a"), row("b", 0.1, 1.9, request_digest="d2")]),
    ("other tokens", [row("a"), row("b", 0.1, 1.9, output_tokens=6)]),
    ("another answer", [row("a", answer_digests=["x"]), row("b", 0.1, 1.9, answer_digests=["y"])]),
    ("a poll", [row("a", surface="responses"), row("b", 0.1, 1.9, surface="responses.object")]),
    ("nothing known but the id", [row(name, request_digest=None, input_tokens=None) for name in "ab"]),
    ("no id", [row("a", response_id=None), row("b", 0.1, 1.9, response_id=None)]),
    ("entries of one recording at unknown times", [recorded("a", "x.har#4"), recorded("b", "x.har#5")]),
    ("entries of one recording at other times", [row("a", source="x.har#4"), row("b", 9, 9, source="x.har#5")]),
    ("attempts of one call", [row("a"), row("b", 0.1, 1.9, call_id="a", attempt_index=1)]),
]


@pytest.mark.parametrize(("rows", "bill"), [case[1:] for case in SAME], ids=[case[0] for case in SAME])
def test_one_response_recorded_twice(rows: list[dict[str, Any]], bill: str, tmp_path: Path):
    (other,) = {"a", "b"} - {bill}
    assert links(tmp_path, rows) == [(other, bill, "same response")]


@pytest.mark.parametrize("rows", [case[1] for case in APART], ids=[case[0] for case in APART])
def test_what_is_alike_and_not_one_response(rows: list[dict[str, Any]], tmp_path: Path):
    assert links(tmp_path, rows) == []


def test_what_was_replayed_twice_and_recorded_too_is_two_bills(tmp_path: Path):
    rows = [row("a"), row("b", 5, 7), row("c", source="x.har#1"), row("d", 5, 7, source="x.har#2")]
    assert links(tmp_path, rows) == [("c", "a", "same response"), ("d", "b", "same response")]


# --- gateways

OUTER = {"provider": "litellm", "trace_id": "t1", "parent_span_id": "app"}
INNER = {"trace_id": "t2", "parent_span_id": None}
BEHIND = [
    ("the same response id", [row("g", **OUTER), row("u", 0.1, 1.9, **INNER, request_digest="d2")]),
    (
        "a trace, the same request",
        [row("g", **OUTER, output_tokens=None), row("u", 0.1, 1.9, trace_id="t1", response_id="r2")],
    ),
    (
        "a trace, the same tokens",
        [row("g", **OUTER), row("u", 0.1, 1.9, trace_id="t1", response_id="r2", request_digest="d2")],
    ),
    ("the same request and tokens", [row("g", **OUTER), row("u", 0.1, 1.9, **INNER, response_id="r2")]),
    ("a clock that is behind", [row("g", **OUTER), row("u", -0.2, 1.9, **INNER)]),
    ("what the caller gave up on", [row("g", **OUTER, error_type="ReadTimeout"), row("u", 0.1, 9, **INNER)]),
    ("what the gateway booked", [row("g", **OUTER, billed_cost_usd=1), row("u", 0.1, 1.9, **INNER)]),
    ("a server that nobody knows", [row("g", provider="openai_compatible"), row("u", 0.1, 1.9)]),
]
BESIDE = [
    ("after it", [row("g", **OUTER), row("u", 2.1, 4, **INNER)]),
    ("ends after it", [row("g", **OUTER), row("u", 0.1, 2.5, **INNER)]),
    ("a clock too far behind", [row("g", **OUTER), row("u", -0.3, 1.9, **INNER)]),
    ("other tokens", [row("g", **OUTER), row("u", 0.1, 1.9, **INNER, output_tokens=6)]),
    (
        "the same prompt, asked twice at once",
        [row("g", **OUTER), row("u", 0.1, 1.9, **OUTER | {"provider": "openai"}, response_id="r2")],
    ),
    (
        "another answer",
        [row("g", **OUTER, answer_digests=["x"]), row("u", 0.1, 1.9, **INNER, response_id="r2", answer_digests=["y"])],
    ),
    (
        "another prompt in the trace",
        [row("g", **OUTER), row("u", 0.1, 1.9, trace_id="t1", response_id="r2", request_digest="d2", input_tokens=11)],
    ),
    ("in front of nobody", [row("g", 0.5, 1.5, **OUTER), row("u", **INNER)]),
    ("a provider that routes nothing", [row("g", provider="anthropic", surface="messages"), row("u", 0.1, 1.9)]),
    ("unknown times", [recorded("g", "x.har#1", provider="litellm"), recorded("u", "x.har#2")]),
]


@pytest.mark.parametrize("rows", [case[1] for case in BEHIND], ids=[case[0] for case in BEHIND])
def test_a_proxy_s_call_stands_for_the_one_behind_it(rows: list[dict[str, Any]], tmp_path: Path):
    assert links(tmp_path, rows) == [("g", "u", "behind a gateway")]


@pytest.mark.parametrize("rows", [case[1] for case in BESIDE], ids=[case[0] for case in BESIDE])
def test_what_is_alike_and_not_behind_a_gateway(rows: list[dict[str, Any]], tmp_path: Path):
    assert links(tmp_path, rows) == []


def test_a_gateway_that_sends_the_bill_is_the_bill_of_all_behind_it(tmp_path: Path):
    rows = [row("g", provider="openrouter"), row("u1", 0.1, 0.9, response_id="r1"), row("u2", 1, 1.9, response_id="r1")]
    assert links(tmp_path, rows) == [("u1", "g", "behind a gateway"), ("u2", "g", "behind a gateway")]


def test_a_proxy_that_asked_twice_stands_for_the_call_that_did_not_fail(tmp_path: Path):
    failed = {"error_type": "500", "status_code": 500, "input_tokens": None, "output_tokens": None}
    rows = [row("g", **OUTER), row("u1", 0.1, 0.9, **INNER), row("u2", 1, 1.9, **INNER, **failed)]
    assert links(tmp_path, rows) == [("g", "u1", "behind a gateway")]


def test_calls_in_quick_succession_are_behind_their_own_gateway_s_call(tmp_path: Path):
    rows = [
        *(row("g1", 0, 0.1, **OUTER), row("u1", 0.09, 0.099, **INNER)),
        *(row("g2", 0.12, 0.3, **OUTER), row("u2", 0.2, 0.21, **INNER)),
    ]
    assert [link[:2] for link in links(tmp_path, rows)] == [("g1", "u1"), ("g2", "u2")]


def test_three_layers_are_one_bill(tmp_path: Path):
    rows = [
        row("p1", 0, 3, provider="portkey"),
        row("p2", 0.1, 2.9, provider="litellm"),
        row("u", 0.2, 2.8),
        row("v", 0.3, 2.7),  # a seam below the last
    ]
    assert links(tmp_path, rows) == [
        ("p1", "u", "behind a gateway"),
        ("p2", "u", "behind a gateway"),
        ("v", "u", "same response"),
    ]
    rows[1]["provider"] = "openrouter"
    assert {(call, bill) for call, bill, _ in links(tmp_path / "2", rows)} == {("p1", "p2"), ("u", "p2"), ("v", "p2")}


def test_among_servers_nobody_knows_the_one_that_says_a_cost_is_the_bill(tmp_path: Path):
    rows = [row("g", **OUTER, billed_cost_usd=1), row("u", 0.1, 1.9, **INNER, provider="openai_compatible")]
    assert links(tmp_path, rows) == [("u", "g", "behind a gateway")]


CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "begins": st.integers(0, 6),
            "lasts": st.integers(0, 6),
            "provider": st.sampled_from(["litellm", "portkey", "openrouter", "openai", "anthropic"]),
            "response_id": st.sampled_from(["r1", "r2", None]),
            "request_digest": st.sampled_from(["d1", None]),
            "trace_id": st.sampled_from(["t1", "t2"]),
            "parent_span_id": st.sampled_from(["p1", None]),
            "input_tokens": st.sampled_from([10, 10, None]),
            "source": st.sampled_from([None, None, "x.har#1", "x.har#2"]),
            "error_type": st.sampled_from([None, None, "ReadTimeout"]),
        }
    ),
    max_size=9,
)


@settings(max_examples=10)
@given(CALLS, st.randoms(use_true_random=False))
def test_links_lead_to_bills_and_nothing_depends_on_order(
    tmp_path_factory: pytest.TempPathFactory, said: list[dict[str, Any]], shuffler: random.Random
):
    rows = [
        row(f"c{number}", facts.pop("begins"), 0, **facts) for number, facts in enumerate([dict(item) for item in said])
    ]
    for made, facts in zip(rows, said, strict=True):
        made["ended_at"] = made["started_at"] + timedelta(seconds=facts["lasts"])
    folder = tmp_path_factory.mktemp("stores")
    found = links(folder / "a", rows)
    shuffler.shuffle(rows)
    assert links(folder / "b", rows) == found
    linked = {call for call, _, _ in found}
    assert len(linked) == len(found)  # one bill a call
    assert linked.isdisjoint(bill for _, bill, _ in found)  # a bill is no duplicate: there is no circle and no chain
    # without what was linked nothing is left to link twice: bills stay bills
    left = links(folder / "c", [made for made in rows if made["call_id"] not in linked])
    assert {call for call, _, _ in left}.isdisjoint(linked)

"""What is recommended, and why: only what the documents say, and never a saving that they do not."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import turnledger
from hypothesis import given
from hypothesis import strategies as st
from store_rows import call_row, write_store
from turnledger.analysis.commands import app
from turnledger.analysis.recommending import recommend_conversation
from turnledger.instrument.documents import load_documents
from turnledger.instrument.recommending import HistoryShape, Recommendation, recommend_for
from typer.testing import CliRunner

if TYPE_CHECKING:
    from pathlib import Path

REGISTRY = load_documents()
SURFACES = [
    (document.id, surface.name)
    for document in REGISTRY.documents.values()
    for surface in document.surfaces
    if surface.messages.at and surface.is_billed
]
LONG = HistoryShape(turns=20, input_tokens=20_000, longest_gap_s=120)


def option(advice: Recommendation, strategy: str) -> Any:
    return next(item for item in advice.options if item.strategy == strategy)


@pytest.mark.parametrize(
    ("place", "model", "history", "strategy", "cache", "ttl"),
    [
        ("openai/responses", "gpt-5", LONG, "server_state", "implicit", None),
        ("openai/chat.completions", "gpt-5", LONG, "cached_history", "implicit", None),
        ("anthropic/messages", "claude-opus-5", LONG, "cached_history", "explicit", "5m"),
        ("anthropic/messages", "claude-opus-5", HistoryShape(20, 20_000, 900), "cached_history", "explicit", "1h"),
        ("anthropic/messages", "claude-opus-5", HistoryShape(20, 20_000, 9000), "full_history", None, None),
        ("anthropic/messages", "claude-opus-5", HistoryShape(20, 300, 10), "full_history", None, None),
        ("anthropic/messages", "claude-opus-5", HistoryShape(turns=1), "single_turn", None, None),
        ("gemini/interactions", None, LONG, "server_state", "implicit", None),
        ("gemini/generate_content", "gemini-2.5-flash", LONG, "cached_history", "implicit", None),
        ("mistral/conversations", None, LONG, "server_state", None, None),
        ("deepseek/chat.completions", None, LONG, "cached_history", "implicit", None),
        ("openai_compatible/chat.completions", None, LONG, "full_history", None, None),
    ],
)
def test_what_is_recommended(  # noqa: PLR0913  a case is that many figures
    place: str, model: str | None, history: HistoryShape, strategy: str, cache: str | None, ttl: str | None
):
    provider, _, surface = place.partition("/")
    advice = recommend_for(REGISTRY, provider, surface, model, history)
    assert (advice.strategy, advice.cache, advice.cache_ttl) == (strategy, cache, ttl)
    assert advice.reasoning.endswith(".")
    assert advice.checked == "2026-11-23"


def test_the_reasoning_cites_the_document():
    advice = recommend_for(REGISTRY, "anthropic", "messages", "claude-opus-5", LONG)
    said = (
        "Prompts are cached (explicit and automatic). A prefix of fewer than 512 tokens is not cached. What is read "
        "from the cache costs 0.1 of the input price, what is written 1.25. It is kept for 5m, anew from every "
        "read. Over 20 turns"
    )
    assert advice.reasoning.startswith(said)
    # by hand: 19 reads at 0.1 and two halves of a write at 1.25, over 21
    assert option(advice, "cached_history").relative_cost == (Decimal("0.1") * 19 + Decimal("2.5")) / 21
    assert "https://platform.claude.com/docs/en/build-with-claude/prompt-caching" in advice.sources
    server = recommend_for(REGISTRY, "openai", "responses", "gpt-5", LONG)
    assert "That does not lower the bill by itself: earlier input is billed again." in server.reasoning
    assert "As an option: an SDK keeps sessions (openai-agents:" in server.reasoning
    assert option(server, "server_state").privacy.startswith("the provider keeps the conversation: ")


def test_what_cannot_be_had_says_what_can():
    with pytest.raises(ValueError, match=r"anthropic has no surface 'chat' that takes messages; known: messages, "):
        recommend_for(REGISTRY, "anthropic", "chat")
    with pytest.raises(ValueError, match="no provider document 'acme'; known: "):
        recommend_for(REGISTRY, "acme")


SHAPES = st.builds(
    HistoryShape,
    turns=st.none() | st.integers(1, 1000),
    input_tokens=st.none() | st.integers(0, 10**6),
    longest_gap_s=st.none() | st.floats(0, 10**6),
)


@given(place=st.sampled_from(SURFACES), history=SHAPES)
def test_nothing_is_claimed_that_the_document_does_not_give(place: tuple[str, str], history: HistoryShape):
    advice = recommend_for(REGISTRY, *place, None, history)
    assert advice == recommend_for(REGISTRY, *place, None, history)
    surface = next(item for item in REGISTRY.documents[place[0]].surfaces if item.name == place[1])
    caching = surface.facts.get("caching") or {}
    least = min(
        [
            Decimal(caching.get("read_multiplier", "1")),
            *map(Decimal, caching.get("read_multiplier_by_model", {}).values()),
        ]
    )
    for item in advice.options:
        if item.relative_cost is None or item.strategy == "sliding_window":
            continue
        assert item.relative_cost >= min(least, 1)
        if not caching:
            assert item.relative_cost == 1, "without a cache nothing that leaves nothing out is cheaper"
    server, full = option(advice, "server_state"), option(advice, "full_history")
    if server.is_available:
        assert server.relative_cost == full.relative_cost, "state alone saves nothing"
    if history.turns != 1:
        assert option(advice, advice.strategy).is_available
        assert advice.strategy != "sdk_session"


@given(gap=st.floats(0, 10**6), more=st.floats(0, 10**6))
def test_a_longer_gap_never_makes_caching_cheaper(gap: float, more: float):
    def cost(gap_s: float) -> Decimal:
        advice = recommend_for(REGISTRY, "anthropic", "messages", "claude-opus-5", HistoryShape(20, 20_000, gap_s))
        return option(advice, "cached_history").relative_cost or Decimal(1)

    assert cost(gap) <= cost(gap + more)


def recorded(folder: Path) -> Path:
    rows = [
        call_row(
            conversation_id="chat-1",
            conversation_source="app",
            provider="anthropic",
            surface="messages",
            request_model="claude-opus-5",
            response_model="claude-opus-5",
            message_count=2 * number + 1,
            input_tokens=2000 * (number + 1),
            continues_turn=False,
        )
        for number in range(5)
    ]
    return write_store(folder, rows).root


def test_a_recorded_conversation(tmp_path: Path):
    with turnledger.open(recorded(tmp_path)) as ledger:
        found = recommend_conversation(ledger, "chat-1")
        with pytest.raises(ValueError, match="no conversation 'nobody'"):
            recommend_conversation(ledger, "nobody")
    advice = found.recommendation
    assert (advice.provider, advice.surface, advice.model) == ("anthropic", "messages", "claude-opus-5")
    assert (advice.strategy, advice.cache_ttl) == ("cached_history", "5m")
    assert "Over 5 turns" in advice.reasoning
    assert turnledger.recommend("chat-1", store=tmp_path) == advice
    with pytest.raises(ValueError, match="name a recorded conversation, or a provider"):
        turnledger.recommend()


def test_the_command(tmp_path: Path):
    run = CliRunner().invoke
    store = ["--store", str(recorded(tmp_path))]
    shown = run(app, ["recommend", "chat-1", "--format", "markdown", *store])
    assert shown.exit_code == 0
    assert shown.output.startswith("# anthropic/messages, claude-opus-5: cached_history, prompt cache explicit (5m)\n")
    assert "| server_state | no | unknown |" in shown.output
    found = json.loads(run(app, ["recommend", "--provider", "deepseek", "--format", "json"]).output)
    assert (found["strategy"], found["cache"]) == ("cached_history", "implicit")
    assert run(app, ["recommend"]).exit_code == 2
    assert run(app, ["recommend", "nobody", *store]).exit_code == 2
    assert "strategy" in run(app, ["recommend", "--provider", "openai"]).output

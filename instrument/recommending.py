"""Which strategy a conversation should follow, and why: from what a provider's document says, and the history's length.

A strategy is judged by what it costs beside sending the full history without a cache, by what it leaves out, and by
what the provider keeps. Nothing is claimed that the document does not say: state on a server does not by itself lower a
bill, since earlier input is billed again with every request.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

from .caching import CacheTerms, cache_terms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .documents import ProviderDocument, Registry
    from .surfaces import Surface

SDK_SESSION: Final = "sdk_session"
SERVER_STATE: Final = "server_state"
CACHED_HISTORY: Final = "cached_history"
FULL_HISTORY: Final = "full_history"
SLIDING_WINDOW: Final = "sliding_window"
SUMMARY: Final = "summary"
SINGLE_TURN: Final = "single_turn"
PREFERENCE: Final = (SERVER_STATE, CACHED_HISTORY, SDK_SESSION, FULL_HISTORY, SLIDING_WINDOW, SUMMARY)
"""Of options that cost the same, the earlier one comes first."""
WINDOW_TURNS: Final = 10
"""Turns of the window that a sliding window is judged by."""
_QUALITY: Final = {
    SLIDING_WINDOW: f"the model no longer sees what was said more than {WINDOW_TURNS} turns ago",
    SUMMARY: "the model sees a summary of earlier turns, and knows what that left out no more",
}
_ALL_SEEN: Final = "none: the model sees all of it"
_NOTHING_KEPT: Final = "nothing is kept that need not be"
_TURNS_UNKNOWN: Final = 10
"""Turns a conversation is taken to have, where nothing is known of it."""


@dataclass(frozen=True, slots=True)
class HistoryShape:
    """What is known of a conversation; None is unknown.

    Attributes:
        turns: how many turns it has, or will have.
        input_tokens: tokens of its longest request.
        longest_gap_s: the longest time between two calls, in seconds.
    """

    turns: int | None = None
    input_tokens: int | None = None
    longest_gap_s: float | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """One strategy, judged.

    Attributes:
        strategy: its name.
        is_available: whether it can be used at this surface.
        relative_cost: cost of the input beside the full history without a cache, which is 1; None is unknown.
        reasoning: why, in sentences.
        sources: addresses of what the reasoning cites.
        quality: what it changes in what the model knows.
        privacy: what it changes in what others keep.
    """

    strategy: str
    is_available: bool
    relative_cost: Decimal | None
    reasoning: tuple[str, ...]
    sources: tuple[str, ...]
    quality: str
    privacy: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The strategy that fits best, the reasoning, and all options, the best first.

    Attributes:
        cache: how the prompt cache is used: ``explicit`` (mark what to cache), ``implicit`` (by itself), None (not).
        cache_ttl: the lifetime to ask for, where one has to be; None is the default.
        checked: when the facts were last compared with their sources.
    """

    provider: str
    surface: str
    model: str | None
    strategy: str
    cache: str | None
    cache_ttl: str | None
    reasoning: str
    sources: tuple[str, ...]
    options: tuple[Option, ...]
    checked: str | None


def recommend_for(
    registry: Registry,
    provider: str,
    surface: str | None = None,
    model: str | None = None,
    history: HistoryShape | None = None,
) -> Recommendation:
    """Return the strategy a conversation should follow.

    Args:
        registry: the provider documents.
        provider: a document's id, or its OpenTelemetry name.
        surface: a surface of it; None is the first that takes messages.
        model: the model asked, where rules differ by model.
        history: what is known of the conversation; ten turns are assumed where nothing is.

    Raises:
        ValueError: if there is no such provider or surface; it says which there are.
    """
    document = registry.named(provider)
    found = _surface(document, surface)
    known = history or HistoryShape()
    caching = cast("Mapping[str, Any]", found.facts.get("caching") or {})
    terms = cache_terms(caching, model, known.input_tokens, known.longest_gap_s)
    case = _Case(document, found, terms, max(known.turns or _TURNS_UNKNOWN, 1))
    options = (*_ranked([make(case) for make in (_server, _cached, _session, _full, _window)]), _summary(case))
    if known.turns == 1:
        chosen, reasoning = SINGLE_TURN, "A conversation of one turn has no history to send: nothing has to be kept."
    else:
        best = next(option for option in options if option.is_available and option.strategy != SDK_SESSION)
        chosen, reasoning = best.strategy, " ".join((*best.reasoning, *_cost(best, case), *_also(best, options)))
    sources = dict.fromkeys(source for option in options if option.is_available for source in option.sources)
    checked = found.facts.get("checked") or document.front.get("checked")
    return Recommendation(
        provider=document.id,
        surface=found.name,
        model=model,
        strategy=chosen,
        cache=terms.use if chosen != SINGLE_TURN else None,
        cache_ttl=terms.ttl if terms.use == "explicit" and chosen != SINGLE_TURN else None,
        reasoning=reasoning,
        sources=tuple(sources),
        options=options,
        checked=str(checked) if checked else None,
    )


@dataclass(frozen=True, slots=True)
class _Case:
    """What options are judged by."""

    document: ProviderDocument
    surface: Surface
    terms: CacheTerms
    turns: int

    @property
    def cost(self) -> Decimal | None:
        """What all input costs where nothing is asked of a cache: less than 1 only where one works by itself."""
        return self.terms.relative_cost(self.turns) if self.terms.is_implicit else Decimal(1)

    @property
    def sources(self) -> tuple[str, ...]:
        return _urls(self.surface.facts, self.document.front)


def _surface(document: ProviderDocument, name: str | None) -> Surface:
    possible = {item.name: item for item in document.surfaces if item.messages.at and item.is_billed}
    if name is None and possible:
        return next(iter(possible.values()))
    if name not in possible:
        raise ValueError(
            f"{document.id} has no surface {name!r} that takes messages; known: {', '.join(possible) or '-'}"
        )
    return possible[name]


def _ranked(options: Sequence[Option]) -> tuple[Option, ...]:
    """Return the options, the best first: that can be used, leave nothing out, are cheapest, are preferred."""

    def rank(option: Option) -> tuple[bool, bool, Decimal, int]:
        cost = option.relative_cost if option.relative_cost is not None else Decimal(1)
        leaves_out = option.strategy in _QUALITY
        return (not option.is_available, leaves_out, round(cost, 2), PREFERENCE.index(option.strategy))

    return tuple(sorted(options, key=rank))


def _cost(best: Option, case: _Case) -> tuple[str, ...]:
    if best.relative_cost is None or best.relative_cost >= 1:
        return ()
    cost = f"{best.relative_cost:.2f}"
    return (
        f"Over {case.turns} turns of equal length the input costs about {cost} of what it does uncached: an estimate.",
    )


def _also(best: Option, options: Sequence[Option]) -> tuple[str, ...]:
    session = next((option for option in options if option.strategy == SDK_SESSION and option.is_available), None)
    return (f"As an option: {session.reasoning[0]}",) if session is not None and best.strategy != SDK_SESSION else ()


def _urls(*facts: Mapping[str, Any]) -> tuple[str, ...]:
    found: list[str] = []
    for table in facts:
        said = table.get("source") or table.get("sources") or ()
        found += [said] if isinstance(said, str) else list(said)
    return tuple(dict.fromkeys(found))


def _server(case: _Case) -> Option:
    facts, state = case.surface.facts, ", ".join(case.surface.continuing.state or ())
    if not state:
        none = f"{case.document.id}/{case.surface.name} keeps no conversation that a request could go on from."
        return Option(SERVER_STATE, False, None, (none,), (), _ALL_SEEN, "")
    retention = facts.get("retention")
    how = facts.get("stateful") or state
    reasoning = (
        f"The provider keeps the conversation ({how}): a request passes {state} and new messages only.",
        "That does not lower the bill by itself: earlier input is billed again.",
        *(case.terms.sentences if case.terms.is_implicit else ()),
    )
    privacy = "the provider keeps the conversation" + (f": {retention}" if retention else "")
    return Option(SERVER_STATE, True, case.cost, reasoning, case.sources, _ALL_SEEN, privacy)


def _cached(case: _Case) -> Option:
    terms = case.terms
    cost = terms.relative_cost(case.turns) if terms.use else None
    reasoning = terms.sentences or (f"{case.document.id} says nothing of a prompt cache at {case.surface.name}.",)
    sources = _urls(cast("Mapping[str, Any]", case.surface.facts.get("caching") or {}))
    privacy = "prefixes are kept by the provider while they are cached"
    return Option(CACHED_HISTORY, terms.use is not None, cost, reasoning, sources, _ALL_SEEN, privacy)


def _session(case: _Case) -> Option:
    sdks = cast("Mapping[str, Mapping[str, Any]]", case.document.front.get("sdk") or {})
    told = {name: str(sdk.get("sessions", "none")) for name, sdk in sdks.items()}
    having = "; ".join(f"{name}: {text}" for name, text in told.items() if not text.lower().startswith("none"))
    said = f"an SDK keeps sessions ({having})." if having else f"no SDK of {case.document.id} keeps sessions."
    sources = _urls(case.document.front) if having else ()
    cost = case.cost if having else None
    privacy = "where the session keeps the conversation is the application's choice"
    return Option(SDK_SESSION, bool(having), cost, (said,), sources, _ALL_SEEN, privacy)


def _full(case: _Case) -> Option:
    reasoning = (
        "The whole history is sent with every request and billed as input.",
        *(case.terms.sentences if case.terms.is_implicit or case.terms.use is None else ()),
    )
    return Option(FULL_HISTORY, True, case.cost, reasoning, case.sources, _ALL_SEEN, _NOTHING_KEPT)


def _window(case: _Case) -> Option:
    turns = case.turns
    sent = sum(min(turn, WINDOW_TURNS) for turn in range(1, turns + 1))
    cost = case.cost if turns <= WINDOW_TURNS else Decimal(2 * sent) / (turns * (turns + 1))
    breaks = "Once it slides it begins anew with every request, and no earlier prefix of it is found in a cache."
    reasoning = (f"Only the last {WINDOW_TURNS} turns are sent.", *((breaks,) if case.terms.use else ()))
    return Option(SLIDING_WINDOW, True, cost, reasoning, case.sources, _QUALITY[SLIDING_WINDOW], _NOTHING_KEPT)


def _summary(case: _Case) -> Option:
    said = "Earlier turns are replaced by a summary: what that costs depends on how often it is made, and by what."
    return Option(SUMMARY, True, None, (said,), case.sources, _QUALITY[SUMMARY], _NOTHING_KEPT)

"""What ``auto`` chooses for a turn: what is recommended for the surface, the model and a history of this length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .. import health
from ..messages import USER, role_of
from ..recommending import HistoryShape, recommend_for
from .choosing import CACHED, FULL, Choice, possible_strategies
from .windows import BYTES_PER_TOKEN, estimated_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..recommending import Recommendation
    from .history import Message
    from .plan import Settings

_BY_ITSELF: Final = "implicit"


def recommended(settings: Settings, messages: Sequence[Message]) -> Choice:
    """Return the strategy for a history, what is asked now included, with the reasoning; it never fails."""
    surface = settings.surface
    try:
        advice = recommend_for(
            settings.registry, surface.provider, surface.name, settings.model, _shape(settings, messages)
        )
    except Exception as error:  # noqa: BLE001  advice that cannot be had must not end the conversation
        health.failed("manager.auto", error)
        return Choice(FULL, "auto: no recommendation could be made, and the full history leaves nothing out")
    strategy, reason = _as_ours(advice), f"auto: {advice.reasoning}"
    refused = possible_strategies(surface, can_summarise=settings.summarise is not None).get(strategy, "it is not ours")
    if refused:
        return Choice(FULL, f"{reason} {strategy} cannot be done here ({refused}), so the full history is sent.")
    return Choice(strategy, reason, settings.cache_ttl or advice.cache_ttl)


def _as_ours(advice: Recommendation) -> str:
    """Return the strategy: where the provider caches by itself, nothing needs a mark."""
    caches_by_itself = advice.strategy == CACHED and advice.cache == _BY_ITSELF
    return FULL if caches_by_itself else advice.strategy


def _shape(settings: Settings, messages: Sequence[Message]) -> HistoryShape:
    """Return what is known of the history; a managed conversation is taken to have one turn more than it has now."""
    roles = [role_of(message, settings.surface.messages) for message in messages]
    turns = sum(role == USER and (not at or roles[at - 1] != USER) for at, role in enumerate(roles))
    system = len((settings.system or "").encode()) // BYTES_PER_TOKEN
    return HistoryShape(turns=turns + 1, input_tokens=estimated_tokens(messages) + system)

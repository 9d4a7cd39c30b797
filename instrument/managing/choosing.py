"""Strategies by name, and which of them a surface can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..documents import ProviderDocument
    from ..surfaces import Surface

FULL: Final = "full_history"
WINDOW: Final = "sliding_window"
SUMMARY: Final = "summary"
SERVER: Final = "server_state"
CACHED: Final = "cached_history"
AUTO: Final = "auto"
STRATEGIES: Final = (FULL, WINDOW, SUMMARY, SERVER, CACHED, AUTO)


@dataclass(frozen=True, slots=True)
class Choice:
    """A strategy, and why it is this one."""

    strategy: str
    reason: str
    cache_ttl: str | None = None


def surface_to_continue(document: ProviderDocument, name: str) -> Surface:
    """Return a surface of a document on which a conversation can go on.

    Raises:
        ValueError: if there is no such surface; it says which there are.
    """
    possible = {
        surface.name: surface for surface in document.surfaces if surface.continuing.messages and surface.is_billed
    }
    if name not in possible:
        known = ", ".join(possible) or "none"
        raise ValueError(f"no conversation can be continued at {document.id}/{name}; surfaces where one can: {known}")
    return possible[name]


def possible_strategies(surface: Surface, *, can_summarise: bool) -> dict[str, str]:
    """Return every strategy with why it cannot be used here, an empty text where it can."""
    rules = surface.continuing
    where = f"{surface.provider}/{surface.name}"
    return {
        FULL: "",
        WINDOW: "",
        SUMMARY: "" if can_summarise else "it needs summarise=",
        SERVER: "" if rules.state else f"{where} keeps no state to go on from",
        CACHED: "" if rules.breakpoint else f"{where} takes no explicit cache breakpoints",
        AUTO: "",
    }


def check_strategy(strategy: str, surface: Surface, *, can_summarise: bool) -> None:
    """Refuse a strategy that is unknown, or that cannot be used here.

    Raises:
        ValueError: it says why, and which can be used.
    """
    possible = possible_strategies(surface, can_summarise=can_summarise)
    reason = possible.get(strategy, "there is no such strategy")
    if reason:
        usable = ", ".join(name for name, why in possible.items() if not why)
        raise ValueError(f"strategy {strategy!r}: {reason}; possible: {usable}")

"""What is sent of a conversation: the strategy of one turn, and the request arguments that it makes of the messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..messages import SYSTEM, role_of
from .breakpoints import marked
from .choosing import CACHED, FULL, SERVER, SUMMARY, WINDOW
from .shaping import digest, filled, merged, outgoing, placed, without_stale
from .windows import starts, window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..documents import Registry
    from ..surfaces import Surface
    from .history import History, Message

SUMMARY_TEXT: Final = "Summary of the earlier conversation:\n"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the application said of a conversation when it made the manager."""

    conversation_id: str
    registry: Registry
    surface: Surface
    history: History
    strategy: str
    model: str | None = None
    system: str | None = None
    user: str | None = None
    window: int | None = None
    window_tokens: int | None = None
    summarise: Callable[[list[Message]], Any] | None = None
    summarise_over: int = 0
    cache_ttl: str | None = None
    state: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """What the provider, or a summary, knows: the first messages of the history, told by their digest."""

    name: str
    value: str
    covers: int

    def kept(self, messages: Sequence[Message]) -> dict[str, Any]:
        """Return it as a store keeps it."""
        covered = digest(messages[: self.covers])
        return {"name": self.name, "value": self.value, "covers": self.covers, "digest": covered}

    @classmethod
    def of(cls, kept: Any, messages: Sequence[Message]) -> Point | None:
        """Return what was kept, None if it is about other messages than these."""
        try:
            point, known = cls(str(kept["name"]), str(kept["value"]), int(kept["covers"])), kept["digest"]
        except (KeyError, TypeError, ValueError):
            return None
        is_theirs = 0 <= point.covers <= len(messages) and digest(messages[: point.covers]) == known
        return point if is_theirs else None


@dataclass(slots=True)
class Plan:
    """One turn's strategy with its reasoning, and what it goes on from."""

    settings: Settings
    strategy: str
    reason: str
    cache_ttl: str | None = None
    server: Point | None = None
    summary: Point | None = None
    is_stale: bool = False
    """Whether the provider has lost what messages refer to."""

    def arguments(self, messages: Sequence[Message], own: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request's arguments for all messages of the conversation, the application's own laid into them."""
        rules = self.settings.surface.continuing
        sent = outgoing(self._sent(messages), rules)
        arguments: dict[str, Any] = {rules.messages: sent}
        goes_on = self.strategy == SERVER and self.server is not None
        if goes_on and self.server is not None:
            arguments[self.server.name] = self.server.value
        if self.settings.system and not (goes_on and rules.state_keeps_system):
            arguments = self._with_system(arguments, self.settings.system)
        result = merged(arguments, own)
        if self.strategy != CACHED:
            return result
        return marked(result, rules, self.settings.surface.messages, self.cache_ttl)

    def _sent(self, messages: Sequence[Message]) -> list[Message]:
        if self.strategy == SERVER and self.server is not None:
            return list(messages[self.server.covers :])
        if self.is_stale:
            return without_stale(messages, self.settings.surface.continuing)
        if self.strategy == WINDOW:
            of_messages = self.settings.surface.messages
            return window(messages, of_messages, self.settings.window, self.settings.window_tokens)[0]
        if self.strategy == SUMMARY and self.summary is not None:
            return [*self._system_messages(messages[: self.summary.covers]), *self._after_summary(messages)]
        return list(messages)

    def _system_messages(self, messages: Sequence[Message]) -> list[Message]:
        return [message for message in messages if role_of(message, self.settings.surface.messages) == SYSTEM]

    def _after_summary(self, messages: Sequence[Message]) -> list[Message]:
        if self.summary is None:
            return list(messages)
        summary = filled(self.settings.surface.continuing.user, f"{SUMMARY_TEXT}{self.summary.value}")
        return [summary, *messages[self.summary.covers :]]

    def _with_system(self, arguments: dict[str, Any], system: str) -> dict[str, Any]:
        rules = self.settings.surface.continuing
        if rules.system_message is not None:
            return {**arguments, rules.messages: [filled(rules.system_message, system), *arguments[rules.messages]]}
        if rules.system_argument:
            return merged(arguments, placed(rules.system_argument, filled(rules.system_value, system)))
        return arguments

    def to_summarise(self, messages: Sequence[Message], most: int) -> tuple[list[Message], int] | None:
        """Return what a new summary is made of and how many messages it covers; None while the history is short.

        Args:
            messages: the history, what is asked now included.
            most: how many of them the summary may cover: those that the store has.
        """
        covered = self.summary.covers if self.summary else 0
        rest = messages[covered:]
        if len(rest) <= self.settings.summarise_over:
            return None
        possible = [at for at in starts(rest, self.settings.surface.messages) if 0 < at <= most - covered]
        if not possible:
            return None
        keep = self.settings.window or 0
        cut = next((at for at in possible if len(rest) - at <= keep), possible[-1])
        return self._after_summary(messages)[: cut + (1 if self.summary else 0)], covered + cut

    def fall_back(self, reason: str) -> None:
        """Send the full history from now on."""
        self.strategy, self.reason, self.server, self.summary = FULL, f"{self.strategy} fell back: {reason}", None, None

"""The conversation manager: optional, for applications that want the history kept and the strategy applied for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..documents import load_documents
from .choosing import AUTO, check_strategy, surface_to_continue
from .history import History, MemoryHistory
from .plan import Settings
from .turn import Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from .history import Message

R = TypeVar("R")
WINDOW: Final = 20
"""Messages of a window, where the application says neither messages nor tokens."""


class ConversationManager:
    """Holds one conversation's history, and says what of it is sent with the next request.

    It sends nothing itself: the application calls its SDK with the arguments it gets, so that it works with every SDK
    that a provider document describes, sync or async. It may be used from many threads, but turns of one conversation
    follow each other: of two at once neither sees what the other says.

    Args:
        conversation_id: the application's id of the conversation; calls made in a turn are recorded with it.
        provider: the provider document's id, such as ``turnledger providers`` lists.
        surface: the API shape that is called, by its name in the document.
        model: the model that is asked, for ``auto``; it is not among the arguments.
        strategy: ``full_history``, ``sliding_window``, ``summary``, ``server_state`` (the provider's own state),
            ``cached_history`` (full history with explicit cache breakpoints) or ``auto``, which leaves nothing out.
        system: the system prompt, which is not part of the history.
        history: where conversations are kept; default is the memory of this manager.
        window: how many messages ``sliding_window`` sends and ``summary`` leaves as they are; default 20.
        window_tokens: the same in tokens, estimated by size.
        summarise: for ``summary``: makes a text of earlier messages; a coroutine function in async turns.
        summarise_over: how many messages without a summary are too many; default twice the window.
        cache_ttl: for ``cached_history``: how long prefixes are kept, as the provider's document writes it.
        state: for ``server_state``: a state the application has made, as argument and id
            (``{"conversation": "conv_1"}``).
        user: the id of the user, recorded with the calls.

    Raises:
        ValueError: if there is no such provider, surface or strategy, or the surface cannot do it; it says what can.
    """

    def __init__(  # noqa: PLR0913  all that can be said of a conversation, by name
        self,
        conversation_id: str,
        *,
        provider: str,
        surface: str,
        model: str | None = None,
        strategy: str = AUTO,
        system: str | None = None,
        history: History | None = None,
        window: int | None = None,
        window_tokens: int | None = None,
        summarise: Callable[[list[Message]], str | Awaitable[str]] | None = None,
        summarise_over: int | None = None,
        cache_ttl: str | None = None,
        state: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        registry = load_documents()
        found = surface_to_continue(registry.named(provider), surface)
        check_strategy(strategy, found, can_summarise=summarise is not None)
        _check_limits(window, window_tokens, summarise_over)
        unknown = set(state or ()) - set(found.continuing.state or ())
        if unknown or len(state or ()) > 1:
            known = ", ".join(found.continuing.state or ()) or "none"
            raise ValueError(f"state: one of the surface's own arguments and its id; it has: {known}")
        messages = WINDOW if window is None and window_tokens is None else window
        self._settings = Settings(
            conversation_id=str(conversation_id),
            registry=registry,
            surface=found,
            history=history if history is not None else MemoryHistory(),
            strategy=strategy,
            model=model,
            system=system,
            user=None if user is None else str(user),
            window=messages,
            window_tokens=window_tokens,
            summarise=summarise,
            summarise_over=summarise_over if summarise_over is not None else 2 * (messages or WINDOW),
            cache_ttl=cache_ttl,
            state=state,
        )

    def turn(self, message: object = None) -> Turn:
        """Return a turn, to be used in ``with`` or ``async with``.

        Args:
            message: what the user says: a text, or messages in the SDK's own shape; None goes on with what was asked
                before and not answered.

        Raises:
            TypeError: if it is neither.
        """
        return Turn(self._settings, message)

    def call(self, send: Callable[..., R], message: object = None) -> R:
        """Do one turn of one request, and once more with the full history where the provider's state has expired.

        Args:
            send: is given the request's keyword arguments and returns the SDK's response:
                ``lambda **arguments: client.responses.create(model="...", **arguments)``.
            message: what the user says, as for ``turn``.

        Returns:
            What ``send`` returned. What it raises is raised.
        """
        with self.turn(message) as turn:
            try:
                response = send(**turn.arguments())
            except Exception as error:
                if not turn.falls_back(error):
                    raise
                response = send(**turn.arguments())
            turn.answer(response)
            return response

    async def acall(self, send: Callable[..., Awaitable[R]], message: object = None) -> R:
        """Do the same as ``call`` with an async SDK.

        Args:
            send: is given the request's keyword arguments; what it returns is awaited.
            message: what the user says, as for ``turn``.

        Returns:
            The SDK's response. What ``send`` raises is raised.
        """
        async with self.turn(message) as turn:
            try:
                response = await send(**turn.arguments())
            except Exception as error:
                if not turn.falls_back(error):
                    raise
                response = await send(**turn.arguments())
            turn.answer(response)
            return response


def _check_limits(*limits: Any) -> None:
    if any(limit is not None and limit < 1 for limit in limits):
        raise ValueError("window, window_tokens and summarise_over are positive numbers")

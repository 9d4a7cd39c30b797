"""Histories kept by SDKs' own sessions, told by what they can do: nothing of an SDK is imported here.

Named values (the provider's state, a summary) are no part of such sessions: they are kept beside them, in memory or in
a history given as ``values``.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from ..objects import to_json
from .history import MemoryHistory, Record
from .plan import Point

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .history import Message

_ARGUMENT: Final = "conversation_id"
"""What a conversation's id is called where it is asked for, and where a request goes on from it."""


class Values(Protocol):
    """Where named values are kept: a history whose methods are no coroutines."""

    def load(self, conversation_id: str, /) -> Record:
        """Return what is kept of a conversation."""
        ...

    def set_state(self, conversation_id: str, name: str, value: Any, /) -> None:
        """Keep a named JSON value; None forgets it."""
        ...


class _Beside:
    """The named values of conversations whose messages stand elsewhere."""

    def __init__(self, values: Values | None) -> None:
        self._values: Values = MemoryHistory() if values is None else values

    def set_state(self, conversation_id: str, name: str, value: Any, /) -> None:
        """Keep a named JSON value of the conversation; None forgets it."""
        self._values.set_state(conversation_id, name, value)

    def _record(self, conversation_id: str, messages: object) -> Record:
        found = cast("list[Message]", to_json(messages))
        return Record(found, self._values.load(conversation_id).state)


class SessionHistory(_Beside):
    """Conversations in sessions with the coroutines ``get_items`` and ``add_items``; for ``async with`` turns.

    Items have the shape of the API they are sent to, so a session is for one surface. Whether items are added all
    together or not at all is up to the session.

    Args:
        session: returns the session of a conversation's id. It is asked at every use: one that is open or in memory has
            to be the same each time, as with ``functools.cache``.
        values: where named values are kept.
    """

    def __init__(self, session: Callable[[str], Any], values: Values | None = None) -> None:
        super().__init__(values)
        self._session = session

    async def load(self, conversation_id: str, /) -> Record:
        """Return what is kept of a conversation, an empty record where there is nothing."""
        items: object = await self._session(conversation_id).get_items()
        return await asyncio.to_thread(self._record, conversation_id, items)

    async def append(self, conversation_id: str, messages: Sequence[Message], /) -> None:
        """Add messages behind those that are there."""
        await self._session(conversation_id).add_items(list(messages))


class ChatHistory(_Beside):
    """Conversations in chat objects that are made of a history and tell it by ``get_history()``. Safe for many threads.

    They are kept in memory, a chat for each conversation. Such a chat cannot be added to from outside: where messages
    are added a new one takes its place, which ``chat`` returns.

    Args:
        create: makes a chat of the messages it begins with: ``lambda history: client.chats.create(model=…,
            history=history)``.
        chats: chats there are already, by the id of their conversation.
        values: where named values are kept.
    """

    def __init__(
        self,
        create: Callable[[list[Any]], Any],
        chats: Mapping[str, Any] | None = None,
        values: Values | None = None,
    ) -> None:
        super().__init__(values)
        self._create, self._chats = create, dict(chats or {})
        self._lock = threading.Lock()

    def chat(self, conversation_id: str) -> Any:
        """Return the chat of a conversation as it is now; one that was not known begins empty."""
        with self._lock:
            return self._chat(conversation_id)

    def load(self, conversation_id: str, /) -> Record:
        """Return what is kept of a conversation, an empty record where there is nothing."""
        return self._record(conversation_id, list(self.chat(conversation_id).get_history()))

    def append(self, conversation_id: str, messages: Sequence[Message], /) -> None:
        """Add messages behind those that are there, all or none of them."""
        with self._lock:
            known = self._chat(conversation_id).get_history()
            self._chats[conversation_id] = self._create([*known, *messages])

    def _chat(self, conversation_id: str) -> Any:
        if conversation_id not in self._chats:
            self._chats[conversation_id] = self._create([])
        return self._chats[conversation_id]


class ServerHistory(_Beside):
    """Conversations that the provider keeps, by its own ids: ``get_history(conversation_id=…)`` returns their entries.

    The provider adds to them itself, with every answer given in the conversation. Nothing can be added from outside, so
    ``append`` only makes sure that it was: messages that were sent anywhere else are refused, not lost in silence.
    For a manager of the strategy ``server_state``, with the provider's id as its ``conversation_id``.

    Args:
        conversations: what the SDK offers for conversations: ``client.beta.conversations``.
        values: where named values are kept.
    """

    def __init__(self, conversations: Any, values: Values | None = None) -> None:
        super().__init__(values)
        self._conversations = conversations
        self._known: dict[str, int] = {}

    def load(self, conversation_id: str, /) -> Record:
        """Return what the provider has of a conversation.

        Raises:
            Exception: what the SDK raises, also where the provider knows no such conversation.
        """
        record = self._record(conversation_id, self._entries(conversation_id))
        self._known[conversation_id] = len(record.messages)
        # The provider knows all of it, whoever has said it: only what is new is to be sent.
        record.state["server"] = Point(_ARGUMENT, conversation_id, len(record.messages)).kept(record.messages)
        return record

    def append(self, conversation_id: str, messages: Sequence[Message], /) -> None:
        """Make sure that the provider has the messages.

        Raises:
            ValueError: if it has fewer entries than that.
        """
        wanted = self._known.get(conversation_id, 0) + len(messages)
        found = len(self._entries(conversation_id))
        if found < wanted:
            raise ValueError(
                f"the provider has {found} entries of the conversation {conversation_id}, expected {wanted}: "
                "messages get there only by being sent in the conversation"
            )
        self._known[conversation_id] = found

    def _entries(self, conversation_id: str) -> list[Any]:
        return list(self._conversations.get_history(**{_ARGUMENT: conversation_id}).entries)

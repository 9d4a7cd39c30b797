"""Where conversations are kept: the protocol every store of histories follows, and one in memory.

A store has three methods and knows nothing of providers:

- ``load(conversation_id)`` returns a ``Record``: all messages in their order, and the named values kept beside them.
  A conversation that is not known is an empty record.
- ``append(conversation_id, messages)`` adds messages behind what is there, all of them together or none, even where
  another process does the same at that moment.
- ``set_state(conversation_id, name, value)`` keeps one named value, replacing the one before; None forgets it.

Messages and values are JSON (dicts of texts, numbers, lists ...). A message has the shape in which the surface's SDK
takes it; bytes are base64 texts. Only whole turns are appended, so a list of messages can be sent as it is.

A named value says itself how many messages it is about, with their digest: a store need not write messages and values
in one step, and one that cannot keep values at all may forget them: the whole history is sent then. The names in use
are ``server`` (the provider's state) and ``summary``.

In an ``async with`` turn the methods may be coroutines; plain ones are run in a thread there.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import orjson

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

Message = dict[str, Any]


@dataclass(slots=True)
class Record:
    """What a store holds of a conversation: its messages, and the named values kept beside them."""

    messages: list[Message] = field(default_factory=list[Message])
    state: dict[str, Any] = field(default_factory=dict[str, Any])


class History(Protocol):
    """A store of conversations; the module says what each method promises."""

    def load(self, conversation_id: str, /) -> Record | Awaitable[Record]:
        """Return what is kept of a conversation, an empty record where there is nothing."""
        ...

    def append(self, conversation_id: str, messages: Sequence[Message], /) -> Awaitable[None] | None:
        """Add messages behind those that are there, all or none of them."""
        ...

    def set_state(self, conversation_id: str, name: str, value: Any, /) -> Awaitable[None] | None:
        """Keep a named JSON value of the conversation; None forgets it."""
        ...


class MemoryHistory:
    """Conversations in this process's memory: gone when it ends. Safe to use from many threads.

    What goes in and out are copies: a message that was appended cannot be changed from outside.
    """

    def __init__(self) -> None:
        self._messages: dict[str, list[bytes]] = {}
        self._states: dict[str, dict[str, bytes]] = {}
        self._lock = threading.Lock()

    def load(self, conversation_id: str, /) -> Record:
        """Return what is kept of a conversation, an empty record where there is nothing."""
        with self._lock:
            messages = list(self._messages.get(conversation_id, ()))
            state = dict(self._states.get(conversation_id, {}))
        return Record(
            [orjson.loads(text) for text in messages], {key: orjson.loads(text) for key, text in state.items()}
        )

    def append(self, conversation_id: str, messages: Sequence[Message], /) -> None:
        """Add messages behind those that are there.

        Raises:
            TypeError: if a message is no JSON.
        """
        texts = [orjson.dumps(message) for message in messages]
        with self._lock:
            self._messages.setdefault(conversation_id, []).extend(texts)

    def set_state(self, conversation_id: str, name: str, value: Any, /) -> None:
        """Keep a named JSON value of the conversation; None forgets it."""
        with self._lock:
            values = self._states.setdefault(conversation_id, {})
            if value is None:
                values.pop(name, None)
            else:
                values[name] = orjson.dumps(value)

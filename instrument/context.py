"""Who is talking: the conversation, user and tags the application has set, carried by context variables.

Context variables follow asyncio tasks by themselves; threads need ``propagate``.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from .sessions import session_id

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

P = ParamSpec("P")
R = TypeVar("R")


class Watch:
    """Whether an exchange was seen inside an observed function, or inside one that it called."""

    __slots__ = ("outer", "seen")

    def __init__(self, outer: Watch | None) -> None:
        self.outer, self.seen = outer, False


@dataclass(frozen=True, slots=True)
class Conversation:
    """What the application has said of the calls made now; None is not said."""

    id: str | None = None
    user: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    observation: str | None = None
    watch: Watch | None = field(default=None, compare=False)
    session: str | None = None
    strategy: str | None = None
    strategy_reason: str | None = None
    unnamed_session: object = field(default=None, compare=False, repr=False)
    """The SDK's session while it has no id: some are given one by their first request."""

    def mark_exchange(self) -> None:
        """Tell the observed functions around here that an exchange was seen inside them."""
        watch = self.watch
        while watch is not None:
            watch.seen = True
            watch = watch.outer


_current: contextvars.ContextVar[Conversation | None] = contextvars.ContextVar("turnledger_conversation", default=None)


def current() -> Conversation | None:
    """Return the conversation set here, or None."""
    said = _current.get()
    if said is None or said.unnamed_session is None:
        return said
    return replace(said, session=session_id(said.unnamed_session))


def nested(  # noqa: PLR0913  all that can be said of a conversation
    id: str | None,  # noqa: A002  the word of the glossary
    user: str | None,
    tags: Mapping[str, object] | None,
    observation: str | None = None,
    *,
    session: object = None,
    strategy: str | None = None,
    strategy_reason: str | None = None,
) -> Conversation:
    """Return a conversation that inherits from the one set here what is not given; an observed function watches.

    Session and strategy belong to a conversation: another one has its own.
    """
    outer = _current.get() or Conversation()
    own = {str(key): str(value) for key, value in (tags or {}).items()}
    same = id is None or id == outer.id
    known = session_id(session)
    inherited = session is None and same
    return Conversation(
        id=id if id is not None else outer.id,
        user=user if user is not None else outer.user,
        tags={**outer.tags, **own} if own else outer.tags,
        observation=observation or outer.observation,
        watch=Watch(outer.watch) if observation else outer.watch,
        session=outer.session if inherited else known,
        strategy=strategy or (outer.strategy if same else None),
        strategy_reason=strategy_reason if strategy else (outer.strategy_reason if same else None),
        unnamed_session=outer.unnamed_session if inherited else (session if known is None else None),
    )


@contextlib.contextmanager
def active(conversation: Conversation) -> Generator[None]:
    """Make ``conversation`` the current one inside a ``with`` block."""
    token = _current.set(conversation)
    try:
        yield
    finally:
        # A generator with this block in it may end in another thread or task than it began in: what was set there is
        # not set here, and there is nothing to undo.
        with contextlib.suppress(ValueError):
            _current.reset(token)


@contextlib.contextmanager
def conversation(
    id: str | None = None,  # noqa: A002  the word of the glossary
    *,
    user: str | None = None,
    tags: Mapping[str, object] | None = None,
    session: object = None,
) -> Generator[None]:
    """Record the calls made in this block as part of a conversation.

    Args:
        id: the conversation's id in the application; None keeps the outer one.
        user: the user's id; None keeps the outer one.
        tags: labels, joined with the outer ones.
        session: the SDK's own session object, or its id: it is recorded, and is the conversation where neither ``id``
            nor the provider gives one.
    """
    said = nested(None if id is None else str(id), None if user is None else str(user), tags, session=session)
    with active(said):
        yield


def propagate(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function`` bound to the conversation set here, for use in another thread.

    ``executor.submit(turnledger.propagate(work), item)``. The result may be called from many threads at once.
    """
    captured = contextvars.copy_context()

    @functools.wraps(function)
    def bound(*args: P.args, **kwargs: P.kwargs) -> R:
        # A context can be entered once at a time: every call gets a copy of its own.
        return captured.copy().run(function, *args, **kwargs)

    return bound

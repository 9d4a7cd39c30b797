"""One turn of a managed conversation: what the user says, and everything done until it is answered."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import orjson

from .. import context, health
from ..messages import role_of
from ..objects import to_json
from ..paths import first
from .auto import recommended
from .choosing import AUTO, SERVER, SUMMARY, Choice
from .expiry import is_expired
from .plan import Plan, Point, Settings
from .shaping import answered, asks_tools, said, without_stale
from .steps import Steps, run, run_async

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from .history import Message, Record


class Turn:
    """What is asked and answered inside ``with manager.turn(...)``; the store gets all of it when the block ends.

    A block that ends with an exception keeps what was answered; what was asked without an answer stays in the history
    as it is, and the next turn goes on from there: with the same words, or none, they are not sent twice. Tool calls
    whose results were never sent are asked for again. A process that is killed inside a turn has not stored that turn.

    Attributes:
        plan: the strategy of this turn and its reasoning.
    """

    plan: Plan

    def __init__(self, settings: Settings, message: object) -> None:
        self._settings, self._rules = settings, settings.surface.continuing
        self._new = [] if message is None else _plain(said(message, self._rules.user))
        self._stored: list[Message] = []
        self._own: list[Message] = []
        self._handed: tuple[int, Point | None] = (0, None)
        self._server: Point | None = None
        self._kept_server: Any = None
        self._goes_on = False
        self._context = ExitStack()

    @property
    def strategy(self) -> str:
        """The strategy that this turn follows."""
        return self.plan.strategy

    @property
    def reason(self) -> str:
        """Why it does, in a sentence without any content."""
        return self.plan.reason

    def arguments(self, **own: Any) -> dict[str, Any]:
        """Return the keyword arguments of the SDK's method for the request to be sent now.

        Args:
            own: further arguments of the application, laid into them (``tools=``, ``config=``): where cache breakpoints
                are set they are marked too.
        """
        self._handed = (len(self._own), self._server)
        return self.plan.arguments([*self._stored, *self._own], own)

    def answer(self, response: object, *, state_id: str | None = None) -> list[Message]:
        """Remember an answer.

        Args:
            response: the SDK's response or the last event of a stream that holds it, a dict of it, the text that the
                application collected of a stream, or messages in the surface's own shape.
            state_id: the id to go on from, where the response does not say it.

        Returns:
            The messages of the answer as they are kept; none where the response has none.

        Raises:
            TypeError: if it is nothing that can be read.
        """
        document: Any = None
        if isinstance(response, str | list):
            messages = said(response, self._rules.assistant)
        else:
            document = to_json(response)
            messages = answered(document, self._settings.surface)
        messages = _plain(messages)
        self._own += messages
        if messages:
            self._remember_state(document, state_id)
        return messages

    def _remember_state(self, document: Any, state_id: str | None) -> None:
        covers = len(self._stored) + len(self._own)
        envelopes = ((), *self._settings.surface.stream.unwrap)
        for name, path in (self._rules.state or {}).items():
            found = next((value for envelope in envelopes if (value := first(document, (*envelope, *path)))), None)
            if isinstance(found, str):
                self._know(Point(name, found, covers))
                return
        if state_id and self._rules.state:
            name = self._server.name if self._server else list(self._rules.state)[-1]
            self._know(Point(name, state_id, covers))

    def _know(self, server: Point) -> None:
        self._server = server
        if self._goes_on:
            was_lost, self.plan.server = self.plan.strategy != SERVER, server
            if was_lost:
                self.plan.strategy, self.plan.reason = SERVER, "a new state was begun in this turn"
                self._enter_context()

    def add(self, *messages: object) -> None:
        """Add messages that are sent next: results of tools, in the SDK's own shape, or what the user says besides.

        Raises:
            TypeError: if one is neither a text nor a message.
        """
        for message in messages:
            self._own += _plain(said(message, self._rules.user))

    def falls_back(self, error: BaseException) -> bool:
        """Tell whether a request failed because the provider no longer has the state it went on from.

        If so, ``arguments`` has the full history from now on, and the reason is recorded; send it again. Once per turn.
        """
        if self.plan.is_stale or not is_expired(error, self._rules):
            return False
        used, messages = self.plan.server, [*self._stored, *self._own]
        if used is None and without_stale(messages, self._rules) == messages:
            return False
        lost = used.name if used else "something the history refers to"
        self.plan.fall_back(f"the provider no longer knew {lost}, so the full history was sent")
        self.plan.is_stale, self._server = True, None
        self._enter_context()
        return True

    # What happens with the store, written once for `with` and `async with`.

    def _begin(self) -> Steps[Self]:
        settings = self._settings
        record = yield partial(settings.history.load, settings.conversation_id)
        self._take(record)
        choice = self._choice()
        self.plan = Plan(settings, choice.strategy, choice.reason, choice.cache_ttl)
        self._goes_on = choice.strategy == SERVER
        if self._goes_on:
            self._go_on_from(self._kept_server)
        self._enter_context()
        if choice.strategy == SUMMARY:
            try:
                yield from self._summarise(record.state.get("summary"))
            except BaseException:
                self._context.close()
                raise
        return self

    def _choice(self) -> Choice:
        if self._settings.strategy == AUTO:
            return recommended(self._settings, [*self._stored, *self._own])
        return Choice(self._settings.strategy, "chosen by the application", self._settings.cache_ttl)

    def _take(self, record: Record) -> None:
        self._stored = record.messages
        self._kept_server = record.state.get("server")
        self._own = [] if _is_unanswered(self._new, record.messages, self._settings) else list(self._new)

    def _go_on_from(self, kept: Any) -> None:
        self.plan.server = Point.of(kept, self._stored)
        given = next(iter((self._settings.state or {}).items()), None)
        if self.plan.server is None and kept is not None:
            self.plan.reason += "; the history was changed elsewhere since, so all of it is sent"
        elif self.plan.server is None and given is not None:
            self.plan.server = Point(*given, 0)
        self._server = self.plan.server

    def _summarise(self, kept: Any) -> Steps[None]:
        settings, messages = self._settings, [*self._stored, *self._own]
        self.plan.summary = Point.of(kept, self._stored)
        earlier = self.plan.to_summarise(messages, len(self._stored))
        if earlier is None or settings.summarise is None:
            return
        try:
            text = yield partial(settings.summarise, earlier[0])
            if not isinstance(text, str) or not text:
                raise TypeError("a summary is a text")  # noqa: TRY301  handled like any other failure of it
        except Exception as error:  # noqa: BLE001  the application's callable: its failure must not end the conversation
            health.failed("manager.summarise", error)
            self.plan.fall_back(f"making the summary failed ({type(error).__name__}), so the full history is sent")
            self._enter_context()
            return
        self.plan.summary = Point("summary", text, earlier[1])
        keep = self.plan.summary.kept(messages)
        yield partial(settings.history.set_state, settings.conversation_id, "summary", keep)

    def _end(self, error: BaseException | None) -> Steps[None]:
        own, server = self._own, self._server
        handed, server_then = self._handed
        if error is not None and asks_tools(own[handed:], self._rules):
            own, server = own[:handed], server_then
        history, conversation_id = self._settings.history, self._settings.conversation_id
        if own:
            yield partial(history.append, conversation_id, own)
        if self._goes_on:
            keep = server.kept([*self._stored, *own]) if server else None
            if keep != self._kept_server:
                yield partial(history.set_state, conversation_id, "server", keep)

    def _enter_context(self) -> None:
        settings = self._settings
        self._context.enter_context(
            context.active(
                context.nested(
                    settings.conversation_id,
                    settings.user,
                    None,
                    strategy=self.plan.strategy,
                    strategy_reason=self.plan.reason,
                )
            )
        )

    def __enter__(self) -> Self:
        """Load the conversation, and record the calls made from now on as its."""
        return run(self._begin())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Store the turn."""
        self._context.close()
        run(self._end(error))

    async def __aenter__(self) -> Self:
        """Load the conversation, and record the calls made from now on as its."""
        return await run_async(self._begin())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Store the turn."""
        self._context.close()
        await run_async(self._end(error))


def _plain(messages: Sequence[Message]) -> list[Message]:
    """Return messages as a store gives them back: copies that are JSON."""
    return orjson.loads(orjson.dumps(list(messages)))


def _is_unanswered(new: Sequence[Message], stored: Sequence[Message], settings: Settings) -> bool:
    """Tell whether the history ends with just these messages, asked and not answered: an earlier try of them failed."""
    if not new:
        return False
    roles = [role_of(message, settings.surface.messages) for message in stored]
    if not roles or roles[-1] not in ("user", "tool"):
        return False
    end = max((at + 1 for at, role in enumerate(roles) if role == "user"), default=0)
    begin = end
    while begin and roles[begin - 1] == "user":
        begin -= 1
    asked = list(stored[begin:end])
    return any(asked[at : at + len(new)] == list(new) for at in range(len(asked)))

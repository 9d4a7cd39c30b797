"""What an observed function returns or yields that may be a provider's response, kept until its end.

Only then is it known whether an exchange told of the call already. Nothing is read on the application's thread.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, cast

from . import health

if TYPE_CHECKING:
    from .context import Conversation
    from .runtime import Runtime

_PLAIN_VALUES: Final = (str, bytes, int, float, list, tuple)
_MOST_ITEMS: Final = 4096
"""Events kept of one stream. Of a longer one the last takes the place of the one before: it has the totals."""


class Results:
    """The results of one call of an observed function. Its methods never raise: what is returned is the application's.

    Args:
        said: what the application has said of the calls made there.
    """

    __slots__ = ("_first_ns", "_is_complete", "_items", "_said", "_started_ns")

    def __init__(self, said: Conversation) -> None:
        self._said, self._started_ns = said, time.time_ns()
        self._first_ns: int | None = None
        self._items: list[object] = []
        self._is_complete = False

    def returned(self, result: object) -> None:
        """Look at what the function has returned."""
        self._note(result)
        self._is_complete = True
        self.end()

    def yielded(self, item: object) -> None:
        """Look at an item of a generator: an event, or a pair of the response so far and its event."""
        if self._first_ns is None:
            self._first_ns = time.time_ns()
        self._note(next(iter(cast("tuple[Any, ...]", item)), None) if type(item) is tuple else item)

    def finished(self, value: object) -> None:
        """Look at what a generator returned at its end."""
        self._note(value)
        self._is_complete = True

    def end(self) -> None:
        """Let the worker read the response, if there is one and no exchange told of the call."""
        items, self._items = self._items, []
        if not items or self._is_known():
            return
        try:
            from .returned import Returned  # noqa: PLC0415  capture loads on first use

            runtime = _runtime()
            if runtime is not None:
                times = (self._started_ns, time.time_ns())
                runtime.look_at(
                    Returned(items, self._said, *times, first_ns=self._first_ns, closed_early=not self._is_complete)
                )
        except Exception as error:  # noqa: BLE001
            health.failed("observe.returned", error)

    def _is_known(self) -> bool:
        return self._said.watch is None or self._said.watch.seen

    def _note(self, result: object) -> None:
        if result is None or isinstance(result, _PLAIN_VALUES) or self._is_known():
            return
        try:
            runtime = _runtime()
            if runtime is None or not runtime.may_be_response(result, is_event=self._first_ns is not None):
                return
        except Exception as error:  # noqa: BLE001
            health.failed("observe.returned", error)
            return
        if self._items and (self._items[-1] is result or len(self._items) >= _MOST_ITEMS):
            self._items.pop()  # the response so far comes again with every event
        self._items.append(result)


def _runtime() -> Runtime | None:
    from .runtime import active_runtime  # noqa: PLC0415  capture loads on first use

    return active_runtime()

"""Running the same steps for plain and for async applications.

What a turn does with the outside (a store, the application's summary) is a generator of things to do, so that it is
written once. In an event loop each is done in a thread; a coroutine that comes of it is awaited.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator
from typing import Any, TypeVar

R = TypeVar("R")
Steps = Generator[Callable[[], Any], Any, R]


def run(steps: Steps[R]) -> R:
    """Do the steps here and now.

    Raises:
        TypeError: if one of them is a coroutine.
    """
    try:
        todo = next(steps)
        while True:
            try:
                result = todo()
                if inspect.iscoroutine(result):
                    result.close()
                    raise TypeError("the history or the summary is async: use 'async with' or 'acall'")  # noqa: TRY301
            except Exception as error:  # noqa: BLE001  the steps say what a failure of theirs means
                todo = steps.throw(error)
            else:
                todo = steps.send(result)
    except StopIteration as done:
        return done.value


async def run_async(steps: Steps[R]) -> R:
    """Do the steps without blocking the event loop."""
    try:
        todo = next(steps)
        while True:
            try:
                result = await asyncio.to_thread(todo)
                if inspect.isawaitable(result):
                    result = await result
            except Exception as error:  # noqa: BLE001
                todo = steps.throw(error)
            else:
                todo = steps.send(result)
    except StopIteration as done:
        return done.value

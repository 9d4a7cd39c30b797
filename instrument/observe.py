"""``@observe``: record the calls made inside a function as one conversation, and change nothing else about it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from types import AsyncGeneratorType, GeneratorType
from typing import Any, TypeVar, cast, overload

from . import context, health
from .results import Results

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")
Said = str | Callable[..., object] | None
"""A value, the name of an argument, or a callable that is given the call's arguments."""

Resolve = Callable[[tuple[Any, ...], dict[str, Any]], context.Conversation]


@overload
def observe(function: F, /) -> F: ...
@overload
def observe(
    *, conversation: Said = None, user: Said = None, tags: Mapping[str, object] | None = None, session: object = None
) -> Callable[[F], F]: ...
def observe(
    function: F | None = None,
    /,
    *,
    conversation: Said = None,
    user: Said = None,
    tags: Mapping[str, object] | None = None,
    session: object = None,
) -> F | Callable[[F], F]:
    """Record the calls made inside a function, coroutine, generator, async generator or method.

    Switches capture on with its defaults at the first call, if it was neither switched on nor off before. The
    function's signature, results and exceptions stay as they are. Where a function or coroutine made its call unseen
    (no HTTP exchange: gRPC, websockets, an unknown client) and returns the provider's response, or yields its events or
    the response so far, the call is read from that. What a returned generator does is part of the function as well.

    Args:
        function: the function, when used without brackets.
        conversation: id of the conversation: the name of an argument (``"chat_id"``, ``"request.chat_id"``), a value,
            or a callable given the same arguments as the function. A text that is no argument's name is a value.
        user: id of the user, in the same way.
        tags: labels kept with every call.
        session: the SDK's own session, in the same way: its object, or its id. It is the conversation where neither
            the application nor the provider gives one.
    """
    said = {"conversation": conversation, "user": user, "session": session}
    if function is not None:
        return _wrap(function, said, tags)
    return lambda wrapped: _wrap(wrapped, said, tags)


def _wrap(function: F, said: Mapping[str, object], tags: Mapping[str, object] | None) -> F:
    if isinstance(function, staticmethod | classmethod):
        method = cast("Any", function)
        return cast("F", type(method)(_wrap(method.__func__, said, tags)))
    resolve = _Resolver(function, said, tags)
    if inspect.isasyncgenfunction(function):
        wrapper: Any = _async_generator(function, resolve)
    elif inspect.isgeneratorfunction(function):
        wrapper = _generator(function, resolve)
    elif inspect.iscoroutinefunction(function):
        wrapper = _coroutine(function, resolve)
    else:
        wrapper = _plain(function, resolve)
    return cast("F", functools.wraps(function)(wrapper))


class _Resolver:
    """Works out the conversation of one call from its arguments; never raises."""

    def __init__(
        self, function: Callable[..., Any], said: Mapping[str, object], tags: Mapping[str, object] | None
    ) -> None:
        self._signature = _signature(function)
        self._sayings = said
        self._tags = {str(key): str(value) for key, value in (tags or {}).items()}
        home = getattr(function, "__module__", None) or type(function).__module__
        self._name = f"{home}.{getattr(function, '__qualname__', type(function).__qualname__)}"

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> context.Conversation:
        _ensure_instrumented()
        return context.nested(
            self._said("conversation", str, args, kwargs),
            self._said("user", str, args, kwargs),
            self._tags,
            self._name,
            session=self._said("session", _as_it_is, args, kwargs),
        )

    def _said(self, name: str, kind: Callable[[object], R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R | None:
        said: Any = self._sayings[name]
        if said is None:
            return None
        try:
            if isinstance(said, str):
                said = self._argument(said, args, kwargs)
            elif callable(said):
                said = said(*args, **kwargs)
            return None if said is None else kind(said)
        except Exception as error:  # noqa: BLE001  the application's callable must not break its own function
            health.failed("observe.resolve", error)
            return None

    def _argument(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        head, *steps = name.split(".")
        if self._signature is None or head not in self._signature.parameters:
            return name
        bound = self._signature.bind_partial(*args, **kwargs)
        bound.apply_defaults()
        value = bound.arguments.get(head)
        for step in steps:
            value = cast("Mapping[str, Any]", value).get(step) if isinstance(value, Mapping) else getattr(value, step)
        return value


def _as_it_is(value: object) -> object:
    return value


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have none
        return None


def _ensure_instrumented() -> None:
    try:
        from .runtime import instrument_on_first_use  # noqa: PLC0415  capture loads on first use

        instrument_on_first_use()
    except Exception as error:  # noqa: BLE001
        health.failed("observe.instrument", error)


def _plain(function: Callable[..., Any], resolve: Resolve) -> Callable[..., Any]:
    def observed(*args: Any, **kwargs: Any) -> Any:
        said = resolve(args, kwargs)
        results = Results(said)
        with context.active(said):
            result = function(*args, **kwargs)
        return _seen(result, said, results)

    return observed


def _coroutine(function: Callable[..., Any], resolve: Resolve) -> Callable[..., Any]:
    async def observed(*args: Any, **kwargs: Any) -> Any:
        said = resolve(args, kwargs)
        results = Results(said)
        with context.active(said):
            result = await function(*args, **kwargs)
        return _seen(result, said, results)

    return observed


def _seen(result: Any, said: context.Conversation, results: Results) -> Any:
    """Return what a function returned; a generator has only begun: what it does is part of the function."""

    def known(_args: tuple[Any, ...], _kwargs: dict[str, Any]) -> context.Conversation:
        return said

    if isinstance(result, GeneratorType):
        return _generator(lambda: cast("Any", result), known)()
    if isinstance(result, AsyncGeneratorType):
        return _async_generator(lambda: cast("Any", result), known)()
    results.returned(result)
    return result


def _generator(function: Callable[..., Any], resolve: Resolve) -> Callable[..., Any]:
    def observed(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        said = resolve(args, kwargs)
        results = Results(said)
        inner: Generator[Any, Any, Any] = function(*args, **kwargs)
        step: Callable[[], Any] = functools.partial(next, inner)
        try:
            while True:
                # The context is set only while the inner generator runs, never while its consumer does.
                try:
                    with context.active(said):
                        item = step()
                except StopIteration as stop:
                    results.finished(stop.value)
                    return stop.value
                results.yielded(item)
                try:
                    step = functools.partial(inner.send, (yield item))
                except GeneratorExit:
                    raise
                except BaseException as error:  # noqa: BLE001  thrown in by the consumer: it is the inner one's
                    step = functools.partial(inner.throw, error)
        finally:
            with context.active(said):
                inner.close()
            results.end()

    return observed


def _async_generator(function: Callable[..., Any], resolve: Resolve) -> Callable[..., Any]:
    async def observed(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        said = resolve(args, kwargs)
        results = Results(said)
        inner: AsyncGenerator[Any, Any] = function(*args, **kwargs)
        step: Callable[[], Any] = inner.__anext__
        try:
            while True:
                try:
                    with context.active(said):
                        item = await step()
                except StopAsyncIteration:
                    results.finished(None)
                    return
                results.yielded(item)
                try:
                    step = functools.partial(inner.asend, (yield item))
                except GeneratorExit:
                    raise
                except BaseException as error:  # noqa: BLE001
                    step = functools.partial(inner.athrow, error)
        finally:
            with context.active(said):
                await inner.aclose()
            results.end()

    return observed

"""The tee for aiohttp's ``StreamReader``: each read goes to the reader inside, and what comes back is noted in passing.

Nothing is read that the application does not read. What arrives is fed to the reader inside, as before.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from .tees import Flow

_READS: Final = ("read", "readany", "readline", "readuntil", "readexactly")
_ITERATES: Final = frozenset({"iter_chunked", "iter_any", "iter_chunks"})
"""Made of reads of the reader they are called on: of the tee."""


def reader_tee(library: ModuleType) -> Callable[[Any, Flow], Any]:
    """Return the tee for a library's responses: a ``StreamReader`` as it has them, around another."""
    base: Any = library.StreamReader
    members: dict[str, Any] = {**base.__dict__}
    own = {name: _passing(name) for name in _READS}
    others = {
        name: _forwarded(name, value)
        for name, value in members.items()
        if not name.startswith("__") and name not in _ITERATES and (callable(value) or isinstance(value, property))
    }
    special = {"readchunk": _readchunk, "read_nowait": _read_nowait, "unread_data": _unread_data}
    # One class, not two: the library's has slots, and classes with slots cannot be joined.
    body: dict[str, Any] = {"__init__": _init, "__getattr__": _getattr, "__repr__": _repr, **others, **own, **special}
    kind: Any = type("StreamReader", (base,), {"__slots__": ("_flow", "_inner"), "__module__": base.__module__, **body})
    return kind


def _init(self: Any, inner: Any, flow: Flow) -> None:
    self._inner, self._flow = inner, flow


def _getattr(self: Any, name: str) -> Any:
    if name in ("_inner", "_flow"):
        raise AttributeError(name)
    return getattr(self._inner, name)


def _repr(self: Any) -> str:
    return repr(self._inner)


def _note(self: Any, data: bytes) -> None:
    """Take what a read returned, and the end when it is reached."""
    flow: Flow = self._flow
    if data:
        flow.chunk(data)
    if self._inner.at_eof():
        flow.over(closed_early=False)


def _forwarded(name: str, value: Any) -> Any:
    if isinstance(value, property):
        return property(lambda self: getattr(self._inner, name))

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._inner, name)(*args, **kwargs)

    return method


def _passing(name: str) -> Any:
    async def read(self: Any, *args: Any, **kwargs: Any) -> bytes:
        try:
            data = await getattr(self._inner, name)(*args, **kwargs)
        except BaseException as error:
            _note_failure(self._flow, error)
            raise
        _note(self, data)
        return data

    read.__name__ = name
    return read


def _note_failure(flow: Flow, error: BaseException) -> None:
    """Take an exception that ends the body; another read may follow one that was cancelled or asked for too much."""
    if isinstance(error, asyncio.IncompleteReadError):
        flow.chunk(error.partial)
        flow.over(closed_early=False)
    elif isinstance(error, asyncio.CancelledError):
        flow.cancelled = error
    elif not isinstance(error, ValueError):
        flow.failed(error)


async def _readchunk(self: Any) -> tuple[bytes, bool]:
    try:
        found = await self._inner.readchunk()
    except BaseException as error:
        _note_failure(self._flow, error)
        raise
    _note(self, found[0])
    return found


def _read_nowait(self: Any, *args: Any, **kwargs: Any) -> bytes:
    data = self._inner.read_nowait(*args, **kwargs)
    _note(self, data)
    return data


def _unread_data(self: Any, data: bytes) -> None:
    self._inner.unread_data(data)
    self._flow.returned(data)


def watch_end(response: Any, flow: Flow) -> None:
    """Let a response tell when the application closes or releases it; refers to it weakly."""
    kind: Any = response.__class__
    itself: Callable[[], Any] = weakref.ref(response)

    def ending(name: str) -> Any:
        def end(*args: Any, **kwargs: Any) -> Any:
            response: Any = itself()
            whole = response.content.at_eof()
            try:
                return getattr(kind, name)(response, *args, **kwargs)
            finally:
                flow.over(closed_early=not whole)

        return end

    response.close, response.release = ending("close"), ending("release")

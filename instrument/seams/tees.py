"""Tees: streams of bytes that pass every chunk on as it comes, and let a capture keep a reference to it.

Not a byte is changed, held back or read earlier than the application reads it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from .. import health

if TYPE_CHECKING:
    from types import ModuleType

    from ..capture import Capture


class Flow:
    """One response body on its way to the application: what a tee tells the capture, once and without ever raising.

    It refers to nothing of the client's: a response that the application drops is freed at once, and this with it.

    Args:
        name: the seam's name, for counted failures.
        capture: what the body belongs to.
    """

    cancelled: BaseException | None = None
    """A cancellation that ended one read: if no other follows, it ended the call."""

    def __init__(self, name: str, capture: Capture) -> None:
        self._name, self._capture = name, capture

    def chunk(self, data: bytes) -> None:
        """Take a chunk that the application gets."""
        try:
            self._capture.chunk(data)
        except Exception as error:  # noqa: BLE001  such as a custom transport's chunk that is not bytes
            self._capture.cut = True
            health.failed(f"{self._name}.chunk", error)

    def failed(self, error: BaseException) -> None:
        """Take the exception with which reading ended."""
        capture = self._capture
        try:
            if not capture.finished:
                capture.fail(error)
        except Exception as ours:  # noqa: BLE001
            health.failed(f"{self._name}.fail", ours)
            capture.abandon("fail")

    def returned(self, data: bytes) -> None:
        """Take back what the application put back: it will be read again."""
        chunks = self._capture.chunks
        if chunks and chunks[-1].endswith(data):
            chunks[-1] = chunks[-1].removesuffix(data)
        else:
            self._capture.cut = True

    def over(self, *, closed_early: bool) -> None:
        """Take the end: of the body, or of the application's interest in it."""
        capture = self._capture
        if closed_early and self.cancelled is not None:
            self.failed(self.cancelled)
        try:
            if not capture.finished:
                capture.closed_early = closed_early
                capture.finish()
        except Exception as error:  # noqa: BLE001
            health.failed(f"{self._name}.finish", error)
            capture.abandon("finish")

    @property
    def is_over(self) -> bool:
        """Whether the capture was handed over."""
        return self._capture.finished

    def __del__(self) -> None:
        """Record a response that the application dropped without closing it."""
        if "_capture" in self.__dict__:
            self.over(closed_early=True)


class Tee:
    """What both tees share: whatever the library asks of the stream is answered by the one inside."""

    def __init__(self, inner: Any, flow: Flow) -> None:
        self._inner, self._flow = inner, flow

    def __getattr__(self, name: str) -> Any:
        if name in ("_inner", "_flow"):
            raise AttributeError(name)
        return getattr(self._inner, name)


def sync_tee(library: ModuleType) -> type[Any]:
    """Return the tee for a library's sync clients: they insist on their own base class."""

    class TeeStream(Tee, library.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            keep = self._flow.chunk
            try:
                for chunk in self._inner:
                    keep(chunk)
                    yield chunk
            except GeneratorExit:
                raise  # the reader stopped early; close() follows
            except BaseException as error:
                self._flow.failed(error)
                raise
            self._flow.over(closed_early=False)

        def close(self) -> None:
            try:
                self._inner.close()
            finally:
                self._flow.over(closed_early=True)

    return TeeStream


def async_tee(library: ModuleType) -> type[Any]:
    """Return the same for asyncio and trio."""

    class AsyncTeeStream(Tee, library.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            keep = self._flow.chunk
            stream = self._inner.__aiter__()
            try:
                async for chunk in stream:
                    keep(chunk)
                    yield chunk
            except GeneratorExit:
                raise
            except BaseException as error:
                self._flow.failed(error)
                raise
            finally:
                if isinstance(stream, AsyncGenerator):
                    await stream.aclose()
            self._flow.over(closed_early=False)

        async def aclose(self) -> None:
            try:
                await self._inner.aclose()
            finally:
                self._flow.over(closed_early=True)

    return AsyncTeeStream

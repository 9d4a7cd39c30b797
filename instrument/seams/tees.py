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


class Tee:
    """What both tees share: whatever the library asks of the stream is answered by the one inside."""

    def __init__(self, inner: Any, capture: Capture) -> None:
        self._inner, self._capture = inner, capture

    def __getattr__(self, name: str) -> Any:
        if name in ("_inner", "_capture"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def _chunk(self, data: bytes) -> None:
        try:
            self._capture.chunk(data)
        except Exception as error:  # noqa: BLE001  such as a custom transport's chunk that is not bytes
            self._capture.cut = True
            health.failed("httpx.chunk", error)

    def _failed(self, error: BaseException) -> None:
        try:
            self._capture.fail(error)
        except Exception as ours:  # noqa: BLE001
            health.failed("httpx.fail", ours)
            self._capture.abandon("fail")

    def _over(self, *, closed_early: bool) -> None:
        capture = self._capture
        try:
            if not capture.finished:
                capture.closed_early = closed_early
                capture.finish()
        except Exception as error:  # noqa: BLE001
            health.failed("httpx.finish", error)
            capture.abandon("finish")

    def __del__(self) -> None:
        """Record a response that the application dropped without closing it."""
        if "_capture" in self.__dict__:
            self._over(closed_early=True)


def sync_tee(library: ModuleType) -> type[Any]:
    """Return the tee for a library's sync clients: they insist on their own base class."""

    class TeeStream(Tee, library.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            keep = self._chunk
            try:
                for chunk in self._inner:
                    keep(chunk)
                    yield chunk
            except GeneratorExit:
                raise  # the reader stopped early; close() follows
            except BaseException as error:
                self._failed(error)
                raise
            self._over(closed_early=False)

        def close(self) -> None:
            try:
                self._inner.close()
            finally:
                self._over(closed_early=True)

    return TeeStream


def async_tee(library: ModuleType) -> type[Any]:
    """Return the same for asyncio and trio."""

    class AsyncTeeStream(Tee, library.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            keep = self._chunk
            stream = self._inner.__aiter__()
            try:
                async for chunk in stream:
                    keep(chunk)
                    yield chunk
            except GeneratorExit:
                raise
            except BaseException as error:
                self._failed(error)
                raise
            finally:
                if isinstance(stream, AsyncGenerator):
                    await stream.aclose()
            self._over(closed_early=False)

        async def aclose(self) -> None:
            try:
                await self._inner.aclose()
            finally:
                self._over(closed_early=True)

    return AsyncTeeStream

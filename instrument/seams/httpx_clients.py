"""The seam for ``httpx`` and ``httpx2``: ``Client.send`` and ``AsyncClient.send``.

Every way through these libraries ends in ``send``: ``request``, ``get`` and the like, ``stream``, custom transports,
and the SDKs, which build a request and send it. Redirects and auth round trips happen inside one ``send``; retries of
an SDK are further calls of it. A response that was read inside ``send`` is referenced, a streamed one is teed at its
raw byte stream, so that not a byte is changed, held back or read earlier than the application reads it.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Final

from .. import health
from ..capture import Capture, in_flight

if TYPE_CHECKING:
    from types import ModuleType

    from ..runtime import Runtime

LIBRARIES: Final = ("httpx", "httpx2")
_active: Runtime | None = None
_wrapped: list[tuple[type[Any], Any, Any]] = []


def install(runtime: Runtime) -> None:
    """Wrap ``send`` of the clients of every installed library; repeated calls only change the runtime."""
    global _active  # noqa: PLW0603  one seam for the process
    _active = runtime
    if not _wrapped:
        for name in LIBRARIES:
            if name in sys.modules or importlib.util.find_spec(name) is not None:
                _wrap(importlib.import_module(name))


def remove() -> None:
    """Put the original methods back; one that another library has wrapped since stays, as a pass-through."""
    global _active  # noqa: PLW0603
    _active = None
    while _wrapped:
        owner, original, ours = _wrapped.pop()
        if owner.__dict__.get("send") is ours:
            owner.send = original


def _wrap(library: ModuleType) -> None:
    sync_tee, async_tee = _tees(library)
    for owner, ours in (
        (library.Client, _sync_send(library.Client.send, library, sync_tee)),
        (library.AsyncClient, _async_send(library.AsyncClient.send, library, async_tee)),
    ):
        _wrapped.append((owner, owner.__dict__["send"], ours))
        owner.send = ours


def _sync_send(original: Any, library: ModuleType, tee: Any) -> Any:
    @functools.wraps(original)
    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        capture = _begin(request)
        if capture is None:
            return original(self, request, *args, **kwargs)
        _enter(capture)
        try:
            response = original(self, request, *args, **kwargs)
        except BaseException as error:
            _fail(capture, error)
            raise
        finally:
            _leave(capture)
        _respond(capture, response, library, tee)
        return response

    return send


def _async_send(original: Any, library: ModuleType, tee: Any) -> Any:
    @functools.wraps(original)
    async def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        capture = _begin(request)
        if capture is None:
            return await original(self, request, *args, **kwargs)
        _enter(capture)
        try:
            response = await original(self, request, *args, **kwargs)
        except BaseException as error:
            _fail(capture, error)
            raise
        finally:
            _leave(capture)
        _respond(capture, response, library, tee)
        return response

    return send


def _begin(request: Any) -> Capture | None:
    """Return the capture of a provider call, None for any other traffic; never raises."""
    runtime = _active
    if runtime is None:
        return None
    try:
        url = request.url
        # raw parts: building text from a URL costs more than the look-up.
        match = runtime.registry.match(
            request.method, url.netloc.decode("ascii"), url.raw_path.partition(b"?")[0].decode("ascii")
        )
        if match is None or in_flight(str(url)):
            return None
        # A body that is still a stream (file uploads) is never read by us.
        body = getattr(request, "_content", b"")
        return Capture(runtime, match, request.method, str(url), request.headers.raw, body)
    except Exception as error:  # noqa: BLE001  telemetry never hurts the app
        health.failed("httpx.begin", error)
        return None


def _enter(capture: Capture) -> None:
    try:
        capture.enter()
    except Exception as error:  # noqa: BLE001
        health.failed("httpx.enter", error)


def _leave(capture: Capture) -> None:
    try:
        capture.leave()
    except Exception as error:  # noqa: BLE001
        health.failed("httpx.leave", error)


def _fail(capture: Capture, error: BaseException) -> None:
    try:
        capture.fail(error)
    except Exception as ours:  # noqa: BLE001
        health.failed("httpx.fail", ours)


def _chunk(capture: Capture, data: bytes) -> None:
    try:
        capture.chunk(data)
    except Exception as error:  # noqa: BLE001  such as a custom transport's chunk that is not bytes
        health.failed("httpx.chunk", error)


def _respond(capture: Capture, response: Any, library: ModuleType, tee: Any) -> None:
    """Take a response that was read, or tee the one that will be."""
    try:
        capture.respond(response.status_code, response.headers.raw)
        if hasattr(response, "_content"):
            capture.body = response.content
            capture.finish()
            return
        encoding = response.headers.get("content-encoding")
        if encoding:
            capture.decode = functools.partial(_decoded, library, encoding)
        response.stream = tee(response.stream, capture)
    except Exception as error:  # noqa: BLE001
        health.failed("httpx.respond", error)


def _decoded(library: ModuleType, encoding: str, raw: bytes) -> bytes:
    """Decode a teed body with the decoders of the library the application itself uses."""
    return library.Response(200, headers={"content-encoding": encoding}, content=raw).content


def _tees(library: ModuleType) -> tuple[type[Any], type[Any]]:
    """Return the tee classes for a library: its clients insist on their own stream base classes."""

    class TeeStream(_Tee, library.SyncByteStream):
        """A byte stream that passes every chunk on as it comes and keeps a reference to it."""

        def __iter__(self) -> Iterator[bytes]:
            capture = self._capture
            try:
                for chunk in self._inner:
                    _chunk(capture, chunk)
                    yield chunk
            except GeneratorExit:
                raise  # the reader stopped early; close() follows
            except BaseException as error:
                _fail(capture, error)
                raise
            self._ended()

        def close(self) -> None:
            try:
                self._inner.close()
            finally:
                self._closed()

    class AsyncTeeStream(_Tee, library.AsyncByteStream):
        """The same for asyncio and trio."""

        async def __aiter__(self) -> AsyncIterator[bytes]:
            capture = self._capture
            stream = self._inner.__aiter__()
            try:
                async for chunk in stream:
                    _chunk(capture, chunk)
                    yield chunk
            except GeneratorExit:
                raise
            except BaseException as error:
                _fail(capture, error)
                raise
            finally:
                if isinstance(stream, AsyncGenerator):
                    await stream.aclose()
            self._ended()

        async def aclose(self) -> None:
            try:
                await self._inner.aclose()
            finally:
                self._closed()

    return TeeStream, AsyncTeeStream


class _Tee:
    """What both tees share: whatever the library asks of the stream is answered by the one inside."""

    def __init__(self, inner: Any, capture: Capture) -> None:
        self._inner, self._capture = inner, capture

    def __getattr__(self, name: str) -> Any:
        if name in ("_inner", "_capture"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def _ended(self) -> None:
        self._safely_finish(closed_early=False)

    def _closed(self) -> None:
        self._safely_finish(closed_early=True)

    def _safely_finish(self, *, closed_early: bool) -> None:
        try:
            if not self._capture.finished:
                self._capture.closed_early = closed_early
                self._capture.finish()
        except Exception as error:  # noqa: BLE001
            health.failed("httpx.finish", error)

    def __del__(self) -> None:
        """Record a response that the application dropped without closing it."""
        capture = self.__dict__.get("_capture")
        if capture is not None and not capture.finished:
            self._safely_finish(closed_early=True)

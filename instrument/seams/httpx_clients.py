"""The seam for ``httpx`` and ``httpx2``: ``Client.send`` and ``AsyncClient.send``.

Every way through these libraries ends in ``send``: ``request``, ``get`` and the like, ``stream``, custom transports,
and the SDKs, which build a request and send it. Redirects and auth round trips happen inside one ``send``; retries of
an SDK are further calls of it. A response that was read inside ``send`` is referenced, a streamed one is teed at its
raw byte stream.
"""

from __future__ import annotations

import functools
import importlib
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from .. import health
from ..capture import Capture, Sent, in_flight
from .late import LateImports
from .tees import async_tee, sync_tee

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from ..runtime import Runtime

LIBRARIES: Final = ("httpx", "httpx2")
_active: Runtime | None = None
_wrapped: list[tuple[type[Any], Any, Any]] = []
_lock = threading.Lock()


def install(runtime: Runtime) -> None:
    """Wrap ``send`` of the clients of every library that is imported, now or later; again, only change the runtime."""
    global _active  # noqa: PLW0603  one seam for the process
    _active = runtime
    _late.install()  # first: an import in another thread is then seen by one of the two
    for name in LIBRARIES:
        if sys.modules.get(name) is not None:
            # Waits for a thread that is in the middle of importing it; no lock of ours is held meanwhile.
            _wrap(importlib.import_module(name))


def remove() -> None:
    """Put the original methods back; one that another library has wrapped since stays, as a pass-through."""
    global _active  # noqa: PLW0603
    _late.remove()
    with _lock:
        _active = None
        while _wrapped:
            owner, original, ours = _wrapped.pop()
            if owner.__dict__.get("send") is ours:
                owner.send = original


def _wrap(library: ModuleType) -> None:
    with _lock:
        if _active is None or any(owner is library.Client for owner, _, _ in _wrapped):
            return
        for owner, wrapping in ((library.Client, _sync_send), (library.AsyncClient, _async_send)):
            original = owner.__dict__["send"]
            ours = wrapping(original, library)
            _wrapped.append((owner, original, ours))
            owner.send = ours


_late: Final = LateImports(LIBRARIES, _wrap)


def _sync_send(original: Any, library: ModuleType) -> Any:
    tee = sync_tee(library)

    @functools.wraps(original)
    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        capture = _begin(request)
        if capture is None:
            return original(self, request, *args, **kwargs)
        _step("enter", capture.enter)
        try:
            response = original(self, request, *args, **kwargs)
        except BaseException as error:
            _fail(capture, error)
            raise
        finally:
            _step("leave", capture.leave)
        _respond(capture, response, library, tee)
        return response

    return send


def _async_send(original: Any, library: ModuleType) -> Any:
    tee = async_tee(library)

    @functools.wraps(original)
    async def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        capture = _begin(request)
        if capture is None:
            return await original(self, request, *args, **kwargs)
        _step("enter", capture.enter)
        try:
            response = await original(self, request, *args, **kwargs)
        except BaseException as error:
            _fail(capture, error)
            raise
        finally:
            _step("leave", capture.leave)
        _respond(capture, response, library, tee)
        return response

    return send


def _begin(request: Any) -> Capture | None:
    """Return the capture of a provider call, None for any other traffic; never raises."""
    runtime = _active
    if runtime is None:
        return None
    try:
        # Raw parts: building text from a URL costs more than the look-up.
        method, url, registry = request.method, request.url, runtime.registry
        path = url.raw_path.partition(b"?")[0]
        if not registry.may_match(method, path):
            return None
        match = registry.match(method, url.netloc.decode("ascii"), path.decode("ascii"))
        if match is None or in_flight(url):
            return None
        # A body that is still a stream (an iterator, a file upload) is the application's: it is never read by us.
        body = getattr(request, "_content", None)
        return Capture(runtime, match, Sent(method, url, request.headers.raw, body))
    except Exception as error:  # noqa: BLE001  telemetry never hurts the app
        health.failed("httpx.begin", error)
        return None


def _step(name: str, step: Callable[[], None]) -> None:
    try:
        step()
    except Exception as error:  # noqa: BLE001
        health.failed(f"httpx.{name}", error)


def _fail(capture: Capture, error: BaseException) -> None:
    try:
        capture.fail(error)
    except Exception as ours:  # noqa: BLE001
        health.failed("httpx.fail", ours)
        capture.abandon("fail")


def _respond(capture: Capture, response: Any, library: ModuleType, tee: Any) -> None:
    """Take a response that was read, or tee the one that will be."""
    step = "respond"
    try:
        capture.respond(response.status_code, response.headers.raw)
        if hasattr(response, "_content"):
            capture.body = response.content
            step = "finish"
            capture.finish()
            return
        encoding = response.headers.get("content-encoding")
        if encoding:
            capture.decode = functools.partial(_decoded, library, encoding)
        response.stream = tee(response.stream, capture)
    except Exception as error:  # noqa: BLE001
        health.failed(f"httpx.{step}", error)
        capture.abandon(step)


def _decoded(library: ModuleType, encoding: str, raw: bytes) -> bytes:
    """Decode a teed body with the decoders of the library the application itself uses."""
    return library.Response(200, headers={"content-encoding": encoding}, content=raw).content

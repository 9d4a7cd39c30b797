"""The seam for ``aiohttp``: ``ClientSession._request``, in which every way through the library ends.

A request that may be a provider's is given one more middleware, the innermost: it sees each HTTP attempt as it is
sent, with its whole URL, headers and body, also where another middleware sends again. (Trace configurations of the
library belong to a session, and say nothing of what is read from a stream.)
"""

from __future__ import annotations

import functools
import inspect
import zlib
from typing import TYPE_CHECKING, Any, Final

from ..capture import MAX_BODY, Capture, Sent, in_flight, whole_body
from .aiohttp_reader import reader_tee, watch_end
from .seam import Seam, path_of
from .tees import Flow

if TYPE_CHECKING:
    from types import ModuleType

    from ..runtime import Runtime

_GZIP: Final = b"\x1f\x8b"
_ANY_ZLIB: Final = 47
"""zlib's window size that tells gzip and zlib by their heads."""


def _wrap(library: ModuleType) -> None:
    if "middlewares" not in inspect.signature(library.ClientSession._request).parameters:  # noqa: SLF001
        raise RuntimeError(f"aiohttp {library.__version__} is not captured: it has no client middlewares (3.12 has)")
    respond = functools.partial(_respond, reader_tee(library))
    middleware = SEAM.async_around(_handle, functools.partial(_begin, library.payload.BytesPayload), respond)
    SEAM.replace(library.ClientSession, "_request", functools.partial(_request_with, middleware))


SEAM: Final = Seam("aiohttp", ("aiohttp",), _wrap)


def _request_with(middleware: Any, original: Any) -> Any:
    """Return ``_request`` that gives requests which may be a provider's the middleware."""

    @functools.wraps(original)
    async def _request(self: Any, method: str, str_or_url: Any, **options: Any) -> Any:
        runtime = SEAM.runtime
        if runtime is not None and _may_match(runtime, method, str_or_url):
            given = options.get("middlewares")
            options["middlewares"] = (*(self._middlewares if given is None else given), middleware)
        return await original(self, method, str_or_url, **options)

    return _request


def _may_match(runtime: Runtime, method: Any, url: Any) -> bool:
    """Tell by the last words of a path, which a session's base URL does not change."""
    try:
        path = path_of(url) if isinstance(url, str) else url.raw_path
        return runtime.registry.may_match(method.upper(), path.encode())
    except Exception:  # noqa: BLE001  whatever the library itself will refuse
        return False


async def _handle(request: Any, handler: Any) -> Any:
    """Send a request: what the middleware wraps."""
    return await handler(request)


def _begin(whole: type[Any], runtime: Runtime, request: Any, *_: Any) -> Capture | None:
    url = request.url
    host = url.raw_host or ""
    netloc = f"[{host}]" if ":" in host else host
    netloc = netloc if url.is_default_port() else f"{netloc}:{url.port}"
    match = runtime.registry.match(request.method, netloc, url.raw_path)
    if match is None or in_flight(url):
        return None
    payload = request.body
    body = whole_body(payload._value) if isinstance(payload, whole) else whole_body(payload or None)  # noqa: SLF001
    return Capture(runtime, match, Sent(request.method, url, _raw(request.headers), body))


def _raw(headers: Any) -> list[tuple[bytes, bytes]]:
    # Copied: a middleware may write into them for the next attempt.
    return [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in headers.items()]


def _respond(tee: Any, capture: Capture, response: Any) -> None:
    capture.respond(response.status, response.raw_headers)
    if response.content.at_eof():  # there is no body
        capture.finish()
        return
    if response.headers.get("content-encoding"):
        capture.decode = _decoded
    flow = Flow(SEAM.name, capture)
    response.content = tee(response.content, flow)
    watch_end(response, flow)


def _decoded(body: bytes) -> bytes:
    """Decompress a body of a session that was told not to; any other comes decompressed."""
    return zlib.decompressobj(_ANY_ZLIB).decompress(body, MAX_BODY + 1) if body.startswith(_GZIP) else body

"""The seam for ``httpx`` and ``httpx2``: ``Client.send`` and ``AsyncClient.send``.

Every way through these libraries ends in ``send``: ``request``, ``get`` and the like, ``stream``, custom transports,
and the SDKs, which build a request and send it. Redirects and auth round trips happen inside one ``send``; retries of
an SDK are further calls of it. A response that was read inside ``send`` is referenced, a streamed one is teed at its
raw byte stream.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from ..capture import Capture, Sent, bounded_body, in_flight
from .seam import Seam
from .tees import Flow, async_tee, sync_tee

if TYPE_CHECKING:
    from types import ModuleType

    from ..runtime import Runtime


_PIECE: Final = 1 << 16
"""Bytes that are decoded at once, about what comes off a connection: what they unpack to was in memory before."""


def _wrap(library: ModuleType) -> None:
    """Wrap ``send`` of the library's clients."""
    kinds = ((library.Client, SEAM.around, sync_tee), (library.AsyncClient, SEAM.async_around, async_tee))
    for owner, around, tee in kinds:
        respond = functools.partial(_respond, library, tee(library))
        SEAM.replace(owner, "send", functools.partial(around, begin=_begin, respond=respond))


SEAM: Final = Seam("httpx", ("httpx", "httpx2"), _wrap)


def _begin(runtime: Runtime, _client: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Capture | None:
    request = args[0] if args else named["request"]
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


def _respond(library: ModuleType, tee: Any, capture: Capture, response: Any) -> None:
    capture.respond(response.status_code, response.headers.raw)
    if hasattr(response, "_content"):
        capture.body = response.content
        capture.finish()
        return
    encoding = response.headers.get("content-encoding")
    if encoding:
        capture.decode = functools.partial(_decoded, library, encoding)
    response.stream = tee(response.stream, Flow(SEAM.name, capture))


def _decoded(library: ModuleType, encoding: str, raw: bytes) -> bytes:
    """Decode a teed body with the decoders of the library the application itself uses."""
    packed = (raw[at : at + _PIECE] for at in range(0, len(raw), _PIECE))
    return bounded_body(library.Response(200, headers={"content-encoding": encoding}, content=packed).iter_bytes())

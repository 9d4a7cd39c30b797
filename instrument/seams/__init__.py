"""One thin wrapper per HTTP client library; each fills the same capture lifecycle.

``install`` wraps the libraries that are imported already and, through an import hook, those imported later: nothing is
imported that the application does not use. (Plain HTTP spans are the exception: OpenTelemetry's own instrumentation
imports the client libraries that it finds.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import aiohttp_sessions, httpx_clients, urllib3_pools
from . import http_spans as plain_spans

if TYPE_CHECKING:
    from ..runtime import Runtime


_SEAMS: Final = (httpx_clients.SEAM, urllib3_pools.SEAM, aiohttp_sessions.SEAM)


def install(runtime: Runtime, *, http_spans: bool) -> None:
    """Wrap every known HTTP client library for ``runtime``."""
    for seam in _SEAMS:
        seam.install(runtime)
    if http_spans:
        plain_spans.install(runtime.provider)


def remove() -> None:
    """Restore what ``install`` wrapped."""
    plain_spans.remove()
    for seam in reversed(_SEAMS):
        seam.remove()

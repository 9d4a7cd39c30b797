"""OpenTelemetry's own httpx and httpx2 instrumentation, switched on beside ours for plain HTTP spans."""

from __future__ import annotations

from typing import Any, Final

from .. import health

_NAMES: Final = ("HTTPXClientInstrumentor", "HTTPX2ClientInstrumentor")
_active: list[Any] = []


def install(tracer_provider: Any) -> None:
    """Switch on each instrumentor whose client library is installed and that is not on already."""
    from opentelemetry.instrumentation import httpx as upstream  # noqa: PLC0415  only for those who ask for it

    for name in _NAMES:
        try:
            instrumentor = getattr(upstream, name)()
            if not instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.instrument(tracer_provider=tracer_provider)
                if instrumentor.is_instrumented_by_opentelemetry:
                    _active.append(instrumentor)
        except Exception as error:  # noqa: BLE001  a missing library or another version of upstream
            health.failed("http_spans.install", error)


def remove() -> None:
    """Switch off the instrumentors that ``install`` switched on."""
    while _active:
        _active.pop().uninstrument()

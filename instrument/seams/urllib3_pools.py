"""The seam for ``urllib3``, and so for ``requests``, ``botocore`` and every SDK that sends through it.

``HTTPConnectionPool._make_request`` is one HTTP attempt: redirects and retries, those of ``Retry`` among them, call it
again, and the answers that are retried pass through it too, which the public ``urlopen`` around it never hands out.
A body is taken as it comes off the connection, before anything is decoded, where all ways of reading it meet:
``_raw_read`` for whole bodies and pieces, ``_handle_chunk`` for chunks on their way to ``stream``. Only responses of
provider calls get these; the class of all others stays as it is.
"""

from __future__ import annotations

import functools
import io
import weakref
from typing import TYPE_CHECKING, Any, Final

from ..capture import Capture, Sent, TextHeaders, bounded_body, in_flight, whole_body
from .seam import Seam, path_of
from .tees import Flow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from ..runtime import Runtime

_NEEDED: Final = ("_raw_read", "_handle_chunk", "read_chunked")
_PORTS: Final = {"http": 80, "https": 443}


def _wrap(library: ModuleType) -> None:
    response = library.response.HTTPResponse
    if any(name not in response.__dict__ for name in _NEEDED):
        raise RuntimeError(f"urllib3 {library.__version__} is not captured: its responses are not those of urllib3 2")
    respond = functools.partial(_respond, response)
    SEAM.replace(
        library.connectionpool.HTTPConnectionPool,
        "_make_request",
        functools.partial(SEAM.around, begin=_begin, respond=respond),
    )


SEAM: Final = Seam("urllib3", ("urllib3",), _wrap)


def _begin(runtime: Runtime, pool: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Capture | None:
    _, method, target, *rest = args
    registry = runtime.registry
    if not registry.may_match(method, path_of(target).encode()):
        return None
    url = target if target[:1] != "/" else f"{pool.scheme}://{_netloc(pool)}{target}"  # whole where a proxy forwards it
    scheme, address = url.split("://", 1)
    netloc, slash, path = address.partition("?")[0].partition("/")
    match = registry.match(method, netloc.removesuffix(f":{_PORTS.get(scheme)}"), slash + path)
    if match is None or in_flight(url):
        return None
    body = rest[0] if rest else named.get("body")
    headers = rest[1] if len(rest) > 1 else named.get("headers")
    return Capture(runtime, match, Sent(method, url, TextHeaders(headers), whole_body(body)))


def _netloc(pool: Any) -> str:
    host = pool.host if ":" not in pool.host or pool.host[0] == "[" else f"[{pool.host}]"
    return host if pool.port in (None, _PORTS.get(pool.scheme)) else f"{host}:{pool.port}"


def _respond(kind: type[Any], capture: Capture, response: Any) -> None:
    capture.respond(response.status, TextHeaders(response.headers))
    encoding = response.headers.get("content-encoding")
    if not isinstance(response, kind) or response._body is not None:  # noqa: SLF001  asking for `data` may read on
        capture.body = response.data or b""
        if encoding and not response.decode_content:
            capture.decode = functools.partial(_decoded, kind, encoding)
        capture.finish()
        return
    if encoding:
        capture.decode = functools.partial(_decoded, kind, encoding)
    _tee(response, Flow(SEAM.name, capture))


def _tee(response: Any, flow: Flow) -> None:
    """Let a response tell what is read of it.

    The methods stand on the response itself and refer to it weakly: it goes when the application lets it go.
    """
    kind: Any = response.__class__
    itself: Callable[[], Any] = weakref.ref(response)

    def raw_read(*args: Any, **kwargs: Any) -> Any:
        response = itself()
        try:
            data = kind._raw_read(response, *args, **kwargs)  # noqa: SLF001
        except BaseException as error:
            flow.failed(error)
            raise
        if data:
            flow.chunk(data)
        _end_of(response, flow)
        return data

    def handle_chunk(*args: Any, **kwargs: Any) -> Any:
        data = kind._handle_chunk(itself(), *args, **kwargs)  # noqa: SLF001
        if data:
            flow.chunk(data)
        return data

    def read_chunked(*args: Any, **kwargs: Any) -> Iterator[bytes]:
        response = itself()
        return _through(kind.read_chunked(response, *args, **kwargs), response, flow)

    response.__dict__.update(
        _raw_read=raw_read, _handle_chunk=handle_chunk, read_chunked=read_chunked, close=_closing(kind, itself, flow)
    )


def _closing(kind: Any, itself: Callable[[], Any], flow: Flow) -> Callable[[], None]:
    def close() -> None:
        try:
            kind.close(itself())
        finally:
            flow.over(closed_early=True)

    return close


def _end_of(response: Any, flow: Flow) -> None:
    """Tell when the body is over: the connection's end of it is closed."""
    if not flow.is_over and response.isclosed():
        flow.over(closed_early=False)


def _through(chunks: Iterator[bytes], response: Any, flow: Flow) -> Iterator[bytes]:
    """Pass on what ``read_chunked`` yields; the chunks were taken before they were decoded."""
    try:
        yield from chunks
    except GeneratorExit:  # the reader stopped: urllib3 closes the connection then
        flow.over(closed_early=True)
        raise
    except BaseException as error:
        flow.failed(error)
        raise
    if response.chunk_left == 0:  # the chunk that says there are no more
        flow.over(closed_early=False)
    else:
        _end_of(response, flow)


def _decoded(kind: type[Any], encoding: str, raw: bytes) -> bytes:
    """Decode a body with the decoders of the library the application itself uses."""
    response = kind(io.BytesIO(raw), headers={"content-encoding": encoding}, preload_content=False)
    return bounded_body(response.stream(decode_content=True))

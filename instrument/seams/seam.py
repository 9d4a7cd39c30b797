"""What the seams of all client libraries share: wrapping and restoring, and the steps around one HTTP attempt.

A seam finds the parts of a request and of a response in its library's objects; when which of them is taken, and that
no failure of ours reaches the application, is written here once.
"""

from __future__ import annotations

import functools
import importlib
import sys
import threading
from typing import TYPE_CHECKING, Any

from .. import health
from .late import LateImports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

    from ..capture import Capture
    from ..runtime import Runtime


def path_of(address: str) -> str:
    """Return the path of an address, which may begin with its host or with its path, without query and fragment."""
    address = address.partition("?")[0].partition("#")[0]
    if address[:1] == "/":
        return address
    _, whole, rest = address.partition("://")
    return f"/{rest.partition('/')[2]}" if whole else address


class Seam:
    """The wrapped methods of client libraries that work alike.

    Args:
        name: how the seam is called in counted failures.
        libraries: full names of the modules.
        wrap: replaces methods of such a module, through ``replace``.
    """

    def __init__(self, name: str, libraries: Iterable[str], wrap: Callable[[ModuleType], None]) -> None:
        self.name, self.runtime = name, None
        self._libraries, self._wrap_methods = tuple(libraries), wrap
        self._wrapped: list[ModuleType] = []
        self._replaced: list[tuple[Any, str, Any, Any]] = []
        self._lock = threading.Lock()
        self._late = LateImports(self._libraries, self._wrap)

    runtime: Runtime | None
    """Where captures go; None while capture is off: methods that stay wrapped pass everything through then."""

    def install(self, runtime: Runtime) -> None:
        """Wrap every library that is imported, now or later; again, only change the runtime."""
        self.runtime = runtime
        self._late.install()  # first: an import in another thread is then seen by one of the two
        for name in self._libraries:
            if sys.modules.get(name) is None:
                continue
            try:
                # Waits for a thread that is in the middle of importing it; no lock of ours is held meanwhile.
                self._wrap(importlib.import_module(name))
            except Exception as error:  # noqa: BLE001  another version of the library: the application goes on
                health.failed(f"{self.name}.install", error)

    def remove(self) -> None:
        """Put the original methods back; one that another library has wrapped since stays, as a pass-through."""
        self._late.remove()
        with self._lock:
            self.runtime = None
            self._wrapped.clear()
            while self._replaced:
                owner, name, original, ours = self._replaced.pop()
                if owner.__dict__.get(name) is ours:
                    setattr(owner, name, original)

    def _wrap(self, library: ModuleType) -> None:
        with self._lock:
            if self.runtime is not None and library not in self._wrapped:
                self._wrapped.append(library)
                self._wrap_methods(library)

    def replace(self, owner: Any, name: str, wrapping: Callable[[Any], Any]) -> None:
        """Replace a method by what ``wrapping`` makes of it; only while a library is being wrapped."""
        original = owner.__dict__[name]
        ours = wrapping(original)
        self._replaced.append((owner, name, original, ours))
        setattr(owner, name, ours)

    def around(self, original: Any, begin: Callable[..., Capture | None], respond: Callable[..., None]) -> Any:
        """Return a method around ``original`` that makes one HTTP attempt a call of it.

        Args:
            original: the library's method.
            begin: called with the runtime, the object, the arguments and the named ones; returns the capture of a
                provider call, None for any other traffic.
            respond: called with the capture and what the method returned.
        """
        begin_step = f"{self.name}.begin"

        @functools.wraps(original)
        def send(owner: Any, *args: Any, **kwargs: Any) -> Any:
            runtime, capture = self.runtime, None
            if runtime is not None:
                try:  # not a method of its own: all traffic passes here, and unpacking takes time
                    capture = begin(runtime, owner, args, kwargs)
                except Exception as error:  # noqa: BLE001  telemetry never hurts the app
                    health.failed(begin_step, error)
            if capture is None:
                return original(owner, *args, **kwargs)
            self._step("enter", capture.enter)
            try:
                response = original(owner, *args, **kwargs)
            except BaseException as error:
                self._fail(capture, error)
                raise
            finally:
                self._step("leave", capture.leave)
            self._respond(respond, capture, response)
            return response

        return send

    def async_around(self, original: Any, begin: Callable[..., Capture | None], respond: Callable[..., None]) -> Any:
        """Return the same for a coroutine function."""
        begin_step = f"{self.name}.begin"

        @functools.wraps(original)
        async def send(owner: Any, *args: Any, **kwargs: Any) -> Any:
            runtime, capture = self.runtime, None
            if runtime is not None:
                try:  # not a method of its own: all traffic passes here, and unpacking takes time
                    capture = begin(runtime, owner, args, kwargs)
                except Exception as error:  # noqa: BLE001  telemetry never hurts the app
                    health.failed(begin_step, error)
            if capture is None:
                return await original(owner, *args, **kwargs)
            self._step("enter", capture.enter)
            try:
                response = await original(owner, *args, **kwargs)
            except BaseException as error:
                self._fail(capture, error)
                raise
            finally:
                self._step("leave", capture.leave)
            self._respond(respond, capture, response)
            return response

        return send

    def _step(self, name: str, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001
            health.failed(f"{self.name}.{name}", error)

    def _fail(self, capture: Capture, error: BaseException) -> None:
        try:
            capture.fail(error)
        except Exception as ours:  # noqa: BLE001
            health.failed(f"{self.name}.fail", ours)
            capture.abandon("fail")

    def _respond(self, respond: Callable[..., None], capture: Capture, response: Any) -> None:
        """Take a response that was read, or tee the one that will be."""
        try:
            respond(capture, response)
        except Exception as error:  # noqa: BLE001
            step = "respond" if capture.status_code is None else "finish"
            health.failed(f"{self.name}.{step}", error)
            capture.abandon(step)

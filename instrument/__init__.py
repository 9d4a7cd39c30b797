"""From bytes on the wire to OpenTelemetry spans: seams, exchanges, extraction, conversation context.

``turnledger.instrument`` is both this package and the function that switches capture on: the module is callable
(a module's ``__class__`` may be replaced: https://docs.python.org/3/reference/datamodel.html#customizing-module-attribute-access).
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .runtime import Runtime


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Runtime:
        """Switch capture on; see ``turnledger.instrument.runtime.instrument``."""
        from .runtime import instrument  # noqa: PLC0415  `import turnledger` must not load OpenTelemetry

        return instrument(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage

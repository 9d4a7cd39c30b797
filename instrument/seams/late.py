"""Acting on a module when it is first imported, so that nothing has to be imported that the application does not use.

A finder at the head of ``sys.meta_path`` lets the others find the module and adds one step behind its loader's. A
module that is missing or fails while it loads does so as ever: nothing of ours runs then.
"""

from __future__ import annotations

import sys
import threading
from importlib.abc import Loader, MetaPathFinder
from typing import TYPE_CHECKING, Any

from .. import health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_lock = threading.Lock()


class LateImports(MetaPathFinder):
    """Calls ``action`` with each of the modules of these names, right after it was imported.

    Args:
        names: full names of the modules.
        action: what to do; its failures are counted, not raised.
    """

    def __init__(self, names: Iterable[str], action: Callable[[ModuleType], None]) -> None:
        self._names, self._action = frozenset(names), action

    def install(self) -> None:
        """Watch imports from now on; those that were are left alone."""
        with _lock:
            if self not in sys.meta_path:
                sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Stop watching."""
        with _lock:
            # A new list: an import that walks the old one in another thread must not miss a finder.
            sys.meta_path = [finder for finder in sys.meta_path if finder is not self]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the other finders find, with our step behind its loader."""
        if fullname not in self._names:
            return None
        spec = self._found_by_others(fullname, path, target)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _ThenAct(spec.loader, self._action)
        return spec

    def _found_by_others(self, fullname: str, path: Any, target: Any) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find(fullname, path, target) if find is not None else None
            if spec is not None:
                return spec
        return None


class _ThenAct(Loader):
    """A loader that is the one inside in everything, and acts when the module is there."""

    def __init__(self, inner: Any, action: Callable[[ModuleType], None]) -> None:
        self._inner, self._action = inner, action

    def __getattr__(self, name: str) -> Any:
        if name in ("_inner", "_action"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        create = getattr(self._inner, "create_module", None)
        return None if create is None else create(spec)

    def exec_module(self, module: ModuleType) -> None:
        # While it loads, and ever after, the module knows its own loader only.
        module.__loader__ = self._inner
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        self._inner.exec_module(module)
        try:
            self._action(sys.modules.get(module.__name__, module))
        except Exception as error:  # noqa: BLE001  the application's import goes on
            health.failed("seam.import", error)

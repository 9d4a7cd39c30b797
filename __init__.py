"""turnledger keeps the books of LLM conversations.

This module imports nothing: its public names are served on first use (PEP 562), so that ``import turnledger``
costs an application nothing and so that the light install works without the analysis libraries.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .analysis.comparing import Comparison as Comparison
    from .analysis.comparing import diff as diff
    from .analysis.ledger import Ledger as Ledger
    from .analysis.ledger import open_ledger
    from .analysis.recommending import recommend as recommend
    from .analysis.reconciling.command import reconcile as reconcile
    from .exporters.parquet import ParquetSpanExporter as ParquetSpanExporter
    from .instrument.capabilities import get_provider_capabilities as get_provider_capabilities
    from .instrument.context import conversation as conversation
    from .instrument.context import propagate as propagate
    from .instrument.extracting import extract_all_identifiers as extract_all_identifiers
    from .instrument.extracting import extract_all_metadata as extract_all_metadata
    from .instrument.managing.history import History as History
    from .instrument.managing.history import MemoryHistory as MemoryHistory
    from .instrument.managing.manager import ConversationManager as ConversationManager
    from .instrument.managing.sessions import ChatHistory as ChatHistory
    from .instrument.managing.sessions import ServerHistory as ServerHistory
    from .instrument.managing.sessions import SessionHistory as SessionHistory
    from .instrument.managing.sqlite import SQLiteHistory as SQLiteHistory
    from .instrument.observe import observe as observe
    from .instrument.recommending import HistoryShape as HistoryShape
    from .instrument.recommending import Recommendation as Recommendation
    from .instrument.runtime import flush as flush
    from .instrument.runtime import instrument as instrument
    from .instrument.runtime import uninstrument as uninstrument

    open = open_ledger  # noqa: A001  the public name reads turnledger.open

_HOMES = {
    "ChatHistory": ("instrument.managing.sessions", "ChatHistory"),
    "Comparison": ("analysis.comparing", "Comparison"),
    "ConversationManager": ("instrument.managing.manager", "ConversationManager"),
    "History": ("instrument.managing.history", "History"),
    "HistoryShape": ("instrument.recommending", "HistoryShape"),
    "Ledger": ("analysis.ledger", "Ledger"),
    "MemoryHistory": ("instrument.managing.history", "MemoryHistory"),
    "ParquetSpanExporter": ("exporters.parquet", "ParquetSpanExporter"),
    "Recommendation": ("instrument.recommending", "Recommendation"),
    "SQLiteHistory": ("instrument.managing.sqlite", "SQLiteHistory"),
    "ServerHistory": ("instrument.managing.sessions", "ServerHistory"),
    "SessionHistory": ("instrument.managing.sessions", "SessionHistory"),
    "conversation": ("instrument.context", "conversation"),
    "diff": ("analysis.comparing", "diff"),
    "extract_all_identifiers": ("instrument.extracting", "extract_all_identifiers"),
    "extract_all_metadata": ("instrument.extracting", "extract_all_metadata"),
    "flush": ("instrument.runtime", "flush"),
    "get_provider_capabilities": ("instrument.capabilities", "get_provider_capabilities"),
    "instrument": ("instrument", None),  # the package itself, which can be called
    "observe": ("instrument.observe", "observe"),
    "open": ("analysis.ledger", "open_ledger"),
    "propagate": ("instrument.context", "propagate"),
    "recommend": ("analysis.recommending", "recommend"),
    "reconcile": ("analysis.reconciling.command", "reconcile"),
    "uninstrument": ("instrument.runtime", "uninstrument"),
}

__all__ = [
    "ChatHistory",
    "Comparison",
    "ConversationManager",
    "History",
    "HistoryShape",
    "Ledger",
    "MemoryHistory",
    "ParquetSpanExporter",
    "Recommendation",
    "SQLiteHistory",
    "ServerHistory",
    "SessionHistory",
    "conversation",
    "diff",
    "extract_all_identifiers",
    "extract_all_metadata",
    "flush",
    "get_provider_capabilities",
    "instrument",
    "observe",
    "open",
    "propagate",
    "recommend",
    "reconcile",
    "uninstrument",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import the home of a public name on its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  this module imports nothing

    home, attribute = _HOMES[name]
    module = import_module(f"{__name__}.{home}")
    value = module if attribute is None else getattr(module, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return [*globals(), *_HOMES]

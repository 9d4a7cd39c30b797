"""The product's first minute: a local stub of the provider APIs and a small app that talks to it.

Importing this loads neither the provider SDKs nor the analysis libraries; ``run_demo`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from ...exporters.store import Store

__all__ = ["DemoUnavailable", "run_demo"]


class DemoUnavailable(Exception):  # noqa: N818  it is no defect: the text says what to do first
    """The demo cannot run here; the text says what is missing and what to do."""


def run_demo(store: Store, console: Console) -> None:
    """Run a small app against recorded answers, write its calls to a store, and print the books of this run.

    Needs no key and no network. What the store holds already stays as it is.

    Args:
        store: where the calls are written.
        console: where the books are printed.

    Raises:
        DemoUnavailable: if the provider SDKs are not installed, capture is already on, or nothing was written.
        StoreError: if the store cannot be read.
    """
    from .run import run_demo as run  # noqa: PLC0415  the SDKs and the analysis load only now

    run(store, console)

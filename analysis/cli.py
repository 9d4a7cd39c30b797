"""The ``turnledger`` command's entry: says what to install where the analysis libraries are missing."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from .commands import run  # noqa: PLC0415  what it needs may not be installed
    except ModuleNotFoundError as error:
        missing, ours = str(error.name), __name__.partition(".")[0]
        if missing.partition(".")[0] == ours:
            raise
        sys.stderr.write(f"error: {missing} is not installed; the command line needs: pip install '{ours}[analysis]'\n")
        raise SystemExit(1) from None
    run()

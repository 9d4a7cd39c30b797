"""The command, as people run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COMMAND = Path(sys.executable).parent / "turnledger"


def run(*words: str, status: int = 0) -> str:
    """Run a command; returns what it said beside its output."""
    done = subprocess.run([COMMAND, *words], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stderr

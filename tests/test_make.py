"""The Makefile on machines that are not like ours: broken interpreters on the PATH, none at all, one without venv."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAKE = shutil.which("make") or "make"
BROKEN = 'echo "shim: no such version" >&2; exit 127'
OLD = f'case "$1" in -c) exec "{sys.executable}" -c "import sys; sys.exit(1)";; esac'
WITHOUT_VENV = f'case "$*" in *ensurepip*) exit 1;; esac; exec "{sys.executable}" "$@"'
WORKING = f'echo "$0 $*" >> "$LOG"; case "$1" in -m) exit 1;; esac; exec "{sys.executable}" "$@"'
"""Writes down what it is asked, and makes no environment."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without .venv, and a folder of interpreters that is the whole PATH."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    return tmp_path


def run(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MAKE, "--no-print-directory", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def bare(checkout: Path, *arguments: str, **interpreters: str) -> subprocess.CompletedProcess[str]:
    """Run make where nothing but ``interpreters`` is on the PATH; an underscore in a name is a dot."""
    for name, script in interpreters.items():
        path = checkout / "bin" / name.replace("_", ".")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return run(checkout, {"PATH": str(checkout / "bin"), "LOG": str(checkout / "log")}, *arguments)


def test_no_interpreter(checkout: Path):
    done = bare(checkout, "test", python3=BROKEN, python3_13=BROKEN, python3_12=OLD)
    assert done.returncode != 0
    assert "make: no Python 3.11 or later was found" in done.stderr
    assert "shim" not in done.stderr + done.stdout


def test_interpreter_without_venv(checkout: Path):
    done = bare(checkout, "test", python3=WITHOUT_VENV)
    assert done.returncode != 0
    assert "make: python3 cannot make a virtual environment" in done.stderr
    assert "apt-get install python3-venv" in done.stderr


@pytest.mark.parametrize("broken", [BROKEN, OLD, WITHOUT_VENV])
def test_first_working_interpreter_is_used(broken: str, checkout: Path):
    bare(checkout, "test", python3=broken, python3_13=BROKEN, python3_11=WORKING)
    asked = (checkout / "log").read_text()
    assert re.search(r"/python3\.11 -m venv --clear \.venv$", asked, re.MULTILINE)


def test_named_interpreter_comes_first(checkout: Path):
    bare(checkout, "test", "PYTHON=my.python", python3=BROKEN, my_python=WORKING)
    assert "/my.python -m venv --clear .venv" in (checkout / "log").read_text()


def here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in this checkout, as a person would: these tests may themselves be run by make."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return run(ROOT, inherited, *arguments)


def test_help_lists_the_targets():
    listed = dict(line.split(maxsplit=1) for line in here().stdout.splitlines())
    assert {"help", "demo", "test", "lint", "typecheck", "scorecard", "bench", "clean"} <= listed.keys()
    assert all(listed.values())


def test_scorecard_says_what_is_missing(tmp_path: Path):
    stamp = tmp_path / ".installed"
    stamp.touch()
    done = here("scorecard", f"STAMP={stamp}", f"SCORECARD={tmp_path}/none.py")
    assert done.returncode != 0
    assert f"make scorecard: no {tmp_path}/none.py; name the script and the folder" in done.stderr

"""What is installed: versions, pins, and what a built wheel carries."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import turnledger
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = (ROOT / "constraints.txt").read_text().splitlines()
FOLDERS = ("provider_docs", "instrument", "exporters", "analysis")
EXTRAS = PROJECT["project"]["optional-dependencies"]


def test_one_version():
    version = PROJECT["project"]["version"]
    assert version == turnledger.__version__
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_pins_are_plain():
    names = [pin.partition("==")[0] for pin in PINS]
    assert [pin for pin in PINS if not re.fullmatch(r"[A-Za-z0-9._-]+==\d[A-Za-z0-9.]*", pin)] == []
    assert names == sorted(set(names), key=str.lower)


REQUIREMENTS = sorted({*PROJECT["project"]["dependencies"], *(line for lines in EXTRAS.values() for line in lines)})


@pytest.mark.parametrize("line", REQUIREMENTS)
def test_pins_meet_requirements(line: str):
    wanted = Requirement(line)
    if wanted.name == PROJECT["project"]["name"]:
        assert wanted.extras <= EXTRAS.keys()
        return
    pins = {canonicalize_name(name): version for name, _, version in (pin.partition("==") for pin in PINS)}
    assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)])


def package_folders() -> list[Path]:
    return [ROOT, *(path.parent for name in FOLDERS for path in (ROOT / name).rglob("__init__.py"))]


def test_every_package_is_listed():
    found = {".".join(["turnledger", *path.relative_to(ROOT).parts]) for path in package_folders()}
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from a copy of the checkout, offline."""
    here = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "*.parquet", "*.gz")
    shutil.copytree(ROOT, here / "checkout", ignore=ignored)
    build = "from setuptools import build_meta; import sys; print(build_meta.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(here)], cwd=here / "checkout", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(here / done.stdout.splitlines()[-1])


def test_wheel_carries_the_package_and_nothing_else(wheel: zipfile.ZipFile):
    carried = {name for name in wheel.namelist() if ".dist-info/" not in name}
    sources = {
        path.relative_to(ROOT).as_posix()
        for folder in package_folders()
        for path in folder.iterdir()
        if path.is_file() and (folder != ROOT or path.name in ("__init__.py", "py.typed"))
    }
    assert carried == {f"turnledger/{name}" for name in sources}
    assert any(name.endswith(".md") for name in carried)
    assert any(name.endswith(".sql") for name in carried)


def test_wheel_metadata(wheel: zipfile.ZipFile):
    folder = f"turnledger-{turnledger.__version__}.dist-info"
    names = wheel.namelist()
    assert {f"{folder}/licenses/LICENSE", f"{folder}/licenses/NOTICE"} <= set(names)
    entry_points = wheel.read(f"{folder}/entry_points.txt").decode()
    assert "turnledger = turnledger.analysis.cli:main" in entry_points
    assert "turnledger = turnledger.exporters.parquet:ParquetSpanExporter" in entry_points
    required = re.findall(r"^Requires-Dist: ([\w.-]+)[^;\n]*$", wheel.read(f"{folder}/METADATA").decode(), re.MULTILINE)
    assert {"duckdb", "polars", "openai", "anthropic"}.isdisjoint(required)

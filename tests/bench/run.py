"""Measure what capture costs, and print it: ``make bench``.

Medians, with and without capture in turn within one run: compare ratios of one run, never times of two machines.
Nothing reaches a network. The figures also go to ``bench.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Run as a script from anywhere: the modules beside it, and those the tests share.
sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

import figures

_LIBRARIES = (
    "turnledger",
    "httpx",
    "httpx2",
    "urllib3",
    "aiohttp",
    "openai",
    "anthropic",
    "opentelemetry-sdk",
    "orjson",
    "pyarrow",
    "duckdb",
)


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "versions": {name: version(name) for name in _LIBRARIES},
    }


def measure(effort: figures.Effort) -> dict[str, Any]:
    """Measure everything; says on standard error what is being measured."""
    found: dict[str, Any] = {"machine": machine(), "effort": vars(effort)}
    for name in ("imports", "memory", "callers", "exporting", "importing", "conversing"):
        sys.stderr.write(f"measuring {name} ...\n")
        found[name] = getattr(figures, name)(effort)
    return found


def table(found: dict[str, Any]) -> str:
    """Return the figures as text."""
    about = found["machine"]
    lines = [f"Python {about['python']}, {about['system']}, {about['cores']} cores, load {about['load'][0]}", ""]
    columns = ("plain_us", "captured_us", "added_us", "added_cpu_us", "ratio", "background_cpu_us")
    lines.append(
        "per call or chunk, µs".ljust(28) + "".join(column.removesuffix("_us").rjust(16) for column in columns)
    )
    for name, figure in found["callers"].items():
        lines.append(name.ljust(28) + "".join(f"{figure[column]:.3f}".rjust(16) for column in columns))
    lines.append("")
    for group in ("exporting", "importing", "conversing", "imports", "memory"):
        lines += [f"{group} {name}".ljust(40) + f"{figure:>12,}" for name, figure in found[group].items()]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run the measurements as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few iterations, to see that it works")
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="where the figures go")
    asked = parser.parse_args(arguments)
    found = measure(figures.QUICK if asked.quick else figures.Effort())
    asked.output.write_text(json.dumps(found, indent=2) + "\n")
    sys.stdout.write(table(found) + "\n")


if __name__ == "__main__":
    main()

"""A process that makes calls and prints its resident memory: before, when capture is on, after the calls (MiB).

``python memory.py CALLS plain|captured``. It is a process of its own, since memory once taken is seldom given back.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from pathlib import Path

import httpx2
import traffic


def resident_mib() -> float:
    """Return the resident memory; where the system does not tell, the highest so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main(calls: int, *, captured: bool) -> None:
    """Make the calls, and print the three figures."""
    run = traffic.plain(httpx2)
    run(20)
    figures = [resident_mib()]
    with tempfile.TemporaryDirectory() as store:
        if captured:
            import turnledger  # noqa: PLC0415  a plain process has none of it

            turnledger.instrument(store=store)
        figures.append(resident_mib())
        run(calls)
        if captured:
            turnledger.flush()
        figures.append(resident_mib())
        if captured:
            turnledger.uninstrument()
    sys.stdout.write(" ".join(map(str, figures)) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), captured=sys.argv[2] == "captured")

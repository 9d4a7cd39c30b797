"""How large a proof is: small with all the other tests, full in ``make torture``."""

from __future__ import annotations

from hypothesis import settings

FULL = settings.get_current_profile_name() == "torture"


def sized(small: int, full: int) -> int:
    """Return the size for this run."""
    return full if FULL else small

"""What a look at one thing found."""

from dataclasses import dataclass

NO_ANSWER = "unreachable"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    status: str
    """ok, warning, error, or unreachable."""
    found: str
    remedy: str = ""

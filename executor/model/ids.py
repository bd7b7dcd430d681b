"""Execution ids: sortable by time, safe in keys, paths and URLs."""

import re
import secrets
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def new_execution_id() -> str:
    """26 characters: 48 bits of milliseconds, 80 random ones, in Crockford's base 32 (a ULID)."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def is_execution_id(text: object) -> bool:
    """Whether it can be the id of an execution; a Celery task id can. One stands for the fleet in its events."""
    return isinstance(text, str) and text != "fleet" and _PATTERN.fullmatch(text) is not None

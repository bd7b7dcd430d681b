"""Secrets are named, never written: ``secret://env/NAME``."""

import re
from typing import Any

SCHEME = "secret://"
PREFIX = "secret://env/"
_WHOLE = re.compile(rf"{PREFIX}[A-Za-z_][A-Za-z0-9_]*")


def is_secret(value: Any) -> bool:
    """Whether `value` as a whole names a secret."""
    return isinstance(value, str) and _WHOLE.fullmatch(value) is not None


def mentions_secret(value: Any) -> bool:
    """Whether `value` is text that holds the beginning of such a name anywhere."""
    return isinstance(value, str) and SCHEME in value

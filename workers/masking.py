"""Secrets that were read, and every text without them."""

import base64
import html
import json
import os
import re
import shlex
import threading
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from executor.model.errors import CONFIGURATION, ActionError

MASK = "***"
_OWN = "REX_"
"""Our own settings begin so; they hold addresses with passwords, and no strategy is to have those."""
SCHEME = "secret://"
_SHORT = 4
"""A secret below this length is masked only where it stands alone: as part of words it would destroy every text."""
_LINE = 8
"""A line of a secret of several lines, a key for instance, is masked by itself from this length on."""
_CUT = 4096
"""A text of this length may have been cut in the middle of a secret: then its end is looked at too."""


class SecretValues:
    """The secrets of one attempt: read at the last moment from `environment`, masked from then on."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment
        self._pattern: re.Pattern[str] | None = None
        self._forms: set[str] = set()
        self._lock = threading.Lock()

    def read(self, value: str) -> str:
        """`value`, or the secret that it names.

        Raises:
            ActionError: an unknown kind of reference, one of our own settings, or this device does not have it.
        """
        if not value.startswith(SCHEME):
            return value
        kind, _, name = value.removeprefix(SCHEME).partition("/")
        if kind != "env" or not name:
            raise ActionError(f"{value!r} is no secret: write secret://env/NAME", CONFIGURATION)
        if name.startswith(_OWN):
            raise ActionError(f"{value}: {name} is a setting of the worker itself, not a secret", CONFIGURATION)
        secret = self._environment.get(name)
        if not secret:
            state = "is not set" if secret is None else "is empty"
            raise ActionError(f"{value}: the variable {name} {state} in the environment of the worker", CONFIGURATION)
        self.remember(secret)
        return secret

    def remember(self, secret: str) -> None:
        """Mask `secret` from now on, also as it looks in JSON, URLs, base64, shell and HTML."""
        forms = set(_forms(secret))
        for line in secret.splitlines():
            if len(line.strip()) >= _LINE:
                forms.update(_forms(line.strip()))
        with self._lock:
            self._forms |= forms
            self._pattern = _pattern(self._forms)

    def mask(self, text: str) -> str:
        """`text` with every secret replaced by ``***``."""
        if self._pattern is None:
            return text
        text = self._pattern.sub(MASK, text)
        if len(text) >= _CUT:
            for form in self._forms:
                for length in range(len(form) - 1, _SHORT - 1, -1):
                    if text.endswith(form[:length]):
                        return text[:-length] + MASK
        return text

    def mask_value(self, value: Any) -> Any:
        """A JSON value with every secret in its texts replaced, those of keys included."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, Mapping):
            return {self.mask(str(key)): self.mask_value(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.mask_value(inner) for inner in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool) and self.mask(str(value)) == MASK:
            return MASK  # a PIN that was printed and parsed as a number
        return value


def _forms(secret: str) -> Iterable[str]:
    yield secret
    stripped = secret.strip()
    if stripped:
        yield stripped
    if len(secret) < _SHORT:
        return
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    yield shlex.quote(secret)[1:-1] if "'" in secret else secret
    yield html.escape(secret)
    yield quote(secret)
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield from _base64(secret.encode("utf-8", "surrogateescape"))


def _base64(secret: bytes) -> Iterable[str]:
    """What of `secret` shows in base64 wherever it begins: as of ``user:secret`` in a header."""
    yield base64.b64encode(secret).decode().rstrip("=")
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + secret).decode().rstrip("=")
        first = (shift * 8 + 5) // 6
        inner = coded[first : (shift + len(secret)) * 8 // 6]
        if len(inner) >= 6:
            yield inner
            yield inner.replace("+", "-").replace("/", "_")


def _pattern(forms: set[str]) -> re.Pattern[str]:
    parts = [
        re.escape(form) if len(form) >= _SHORT else rf"(?<!\w){re.escape(form)}(?!\w)"
        for form in sorted(forms, key=len, reverse=True)
    ]
    return re.compile("|".join(parts))

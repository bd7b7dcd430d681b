"""Small hints beside the saved bytes. Losing one costs time, never truth: they are not synced, and not counted."""

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path


class Notes:
    """One file for each key."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, key: str, text: str) -> None:
        """Keep `text` under `key`, or not, where that cannot be done."""
        place = self._place(key)
        temporary = place.parent / f".{secrets.token_hex(8)}"
        with suppress(OSError):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
            temporary.replace(place)

    def read(self, key: str) -> str | None:
        """What was kept last."""
        with suppress(OSError, UnicodeDecodeError):
            return self._place(key).read_text()
        return None

    def prune(self, before: float) -> None:
        """Delete what was written before `before` (`time.time`)."""
        for path in self.root.glob("*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime <= before:
                    path.unlink()

    def _place(self, key: str) -> Path:
        return self.root / hashlib.sha256(key.encode()).hexdigest()

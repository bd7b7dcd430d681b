"""Standard streams that are closed, full, or that nobody reads."""

import os
import sys
from typing import Any, TextIO, cast


def open_all() -> None:
    """Give what our caller has closed a place that takes everything: no file of ours may become standard output."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    if not isinstance(sys.stderr, _Forgiving):
        sys.stderr = cast(TextIO, _Forgiving(sys.stderr))


def forgive_output() -> None:
    """From now on trouble with standard output is said once, and changes nothing else that the command does."""
    if not isinstance(sys.stdout, _Forgiving):
        sys.stdout = cast(TextIO, _Forgiving(sys.stdout, "standard output"))


class _Forgiving:
    """A stream that never fails."""

    def __init__(self, file: TextIO, name: str = "") -> None:
        self._file = file
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        try:
            return self._file.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        # what is buffered, and what Python writes at its end, goes there too
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._file.fileno())
        os.close(nowhere)
        if self._name:
            sys.stderr.write(f"rex: {self._name} takes no more ({error.strerror}); going on without it\n")
            sys.stderr.flush()

"""Writing to the terminal: data on standard output, everything else on standard error."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any


def harmless(text: str) -> str:
    """`text` without characters that command a terminal: much of what we show was written by others."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)


def say(text: str = "") -> None:
    """A line of data, or of what a person reads."""
    sys.stdout.write(harmless(text) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line that is no data."""
    sys.stderr.write(harmless(text) + "\n")
    sys.stderr.flush()


def say_json(value: Any) -> None:
    """One JSON value, and nothing else."""
    indent = 2 if sys.stdout.isatty() else None
    say(json.dumps(value, indent=indent, ensure_ascii=False, default=str))


def on_terminal() -> bool:
    """Whether somebody watches who can be shown a table that changes."""
    return sys.stdout.isatty()


def say_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; plain columns where it is not a terminal."""
    listed = [[str(cell) for cell in row] for row in rows]
    if on_terminal():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for head in heads:
            table.add_column(head, overflow="fold")
        for row in listed:
            table.add_row(*(Text(harmless(cell)) for cell in row))
        Console().print(table)
        return
    widths = [max(len(row[n]) for row in [list(heads), *listed]) for n in range(len(heads))]
    for row in [list(heads), *listed]:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

"""Applying a unified diff to one text: strictly, every line at its place, or not at all."""

import re
from dataclasses import dataclass

from executor.model.errors import CONFIGURATION, ActionError

_HEADER = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


class PatchRefused(ActionError):
    """The patch is no unified diff of one file, or does not fit; says which hunk and line."""

    classification = CONFIGURATION


@dataclass(frozen=True)
class Hunk:
    number: int
    start: int
    """Line of the old text where it begins; the first line is 1."""
    old: list[str]
    new: list[str]


def apply_patch(text: str, patch: str) -> str:
    """`text` with `patch` applied.

    Raises:
        PatchRefused: as the class says.
    """
    lines = _split(text)
    result: list[str] = []
    position = 0
    for hunk in read_patch(patch):
        begin = hunk.start - 1 if hunk.old else hunk.start
        if begin < position:
            raise PatchRefused(f"hunk {hunk.number} of the patch begins before the one above it ends")
        _refuse_misfit(hunk, lines, begin)
        result += lines[position:begin] + hunk.new
        position = begin + len(hunk.old)
    return "".join(result + lines[position:])


def _refuse_misfit(hunk: Hunk, lines: list[str], begin: int) -> None:
    for offset, expected in enumerate(hunk.old):
        number = begin + offset
        if number >= len(lines):
            raise PatchRefused(
                f"hunk {hunk.number} of the patch does not fit: the file ends after line {len(lines)}, "
                f"line {number + 1} should be {_shown(expected)}"
            )
        if lines[number] != expected:
            raise PatchRefused(
                f"hunk {hunk.number} of the patch does not fit at line {number + 1}: "
                f"expected {_shown(expected)}, found {_shown(lines[number])}"
            )


def read_patch(patch: str) -> list[Hunk]:
    """The hunks of a unified diff of one file.

    Raises:
        PatchRefused: as the class says.
    """
    hunks: list[Hunk] = []
    lines = _split(patch)
    index, files = 0, 0
    while index < len(lines):
        line = lines[index]
        if found := _HEADER.match(line):
            hunk, index = _read_hunk(lines, index, found, len(hunks) + 1)
            hunks.append(hunk)
            continue
        files += line.startswith("--- ")
        if files > 1:
            raise PatchRefused(f"line {index + 1} of the patch begins a second file: one action edits one file")
        if hunks and line.strip() and not line.startswith(("diff ", "index ", "--- ", "+++ ")):
            raise PatchRefused(f"line {index + 1} of the patch belongs to no hunk: {_shown(line)}")
        index += 1
    if not hunks:
        raise PatchRefused("the patch has no hunk: a unified diff has lines like `@@ -1,3 +1,4 @@`")
    return hunks


def _read_hunk(lines: list[str], index: int, header: re.Match[str], number: int) -> tuple[Hunk, int]:
    old: list[str] = []
    new: list[str] = []
    old_left, new_left = (int(header[group] or 1) for group in (2, 4))
    index += 1
    while index < len(lines) and (old_left > 0 or new_left > 0):
        line = lines[index]
        sign, rest = (line[:1], line[1:]) if line.strip("\r\n") else (" ", line)
        if sign == "\\":
            _drop_newline(lines[index - 1][:1], old, new)
        elif sign in " -+":
            if sign != "+":
                old.append(rest)
                old_left -= 1
            if sign != "-":
                new.append(rest)
                new_left -= 1
        else:
            break
        index += 1
    if index < len(lines) and lines[index].startswith("\\"):
        _drop_newline(lines[index - 1][:1], old, new)
        index += 1
    if old_left or new_left:
        raise PatchRefused(
            f"hunk {number} of the patch is not as long as its header says (at line {index + 1} of the patch)"
        )
    return Hunk(number, int(header[1]), old, new), index


def _drop_newline(sign: str, old: list[str], new: list[str]) -> None:
    """``\\ No newline at end of file`` speaks of the line above it."""
    for lines, signs in ((old, " -"), (new, " +")):
        if sign in signs and lines:
            lines[-1] = lines[-1].removesuffix("\n")


def _split(text: str) -> list[str]:
    """Lines with their ends; only a newline ends a line."""
    lines = [line + "\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _shown(line: str) -> str:
    return repr(line if len(line) <= 80 else line[:80] + "...")

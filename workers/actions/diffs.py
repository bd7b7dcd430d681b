"""The unified diff of two texts, bounded in time and length: it informs, and nothing is computed from it."""

import difflib

MAX_LINES = 400
MAX_TEXT = 16 * 1024


def unified(before: bytes, after: bytes, path: str) -> str:
    """The diff, cut where it is long; a change too large to compare is only counted."""
    old, new = _lines(before), _lines(after)
    same = _common(old, new)
    same_end = min(_common(old[::-1], new[::-1]), min(len(old), len(new)) - same)
    gone, come = len(old) - same - same_end, len(new) - same - same_end
    if gone == come == 0:
        return ""
    header = f"--- {path}\n+++ {path}\n"
    if max(gone, come) > MAX_LINES:  # difflib is quadratic and worse
        return f"{header}@@ from line {same + 1}: {gone} lines replaced by {come}, too many to show @@\n"
    start, context = max(same - 3, 0), min(same_end, 3)
    body = difflib.unified_diff(
        old[start : len(old) - same_end + context],
        new[start : len(new) - same_end + context],
        lineterm="",
    )
    text = header + "\n".join(_shifted(line, start) for line in list(body)[2:]) + "\n"
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "\n... cut\n"


def _lines(content: bytes) -> list[str]:
    return content.decode("utf-8", "replace").split("\n")


def _common(one: list[str], other: list[str]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def _shifted(line: str, by: int) -> str:
    """A hunk's header with the line numbers of the whole file."""
    if not line.startswith("@@ ") or by == 0:
        return line
    old, new = line.split()[1:3]
    return f"@@ {_moved(old, by)} {_moved(new, by)} @@"


def _moved(place: str, by: int) -> str:
    start, comma, length = place[1:].partition(",")
    return f"{place[0]}{int(start) + by}{comma}{length}"

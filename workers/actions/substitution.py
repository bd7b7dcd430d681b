"""Replacing what a regular expression matches, cut at the deadline even when the pattern backtracks for ever.

`re` holds the interpreter while it matches. So only a pattern that cannot take long is matched here; any other is
matched in a child process (this file again, run by its path) that is killed at the deadline.
"""

import marshal
import re
import sys

TYPE_CHECKING = False  # importing typing would cost the child half as much as its start
if TYPE_CHECKING:
    from executor.action import Run

_SPECIAL = re.compile(r"[.^$*+?{}\[\]\\|()]")
_BRANCHES = re.compile(r"[*+?{|]")
_SMALL = 4096
_MOST = 128 * 1024 * 1024


def substitute(
    run: "Run", text: str, pattern: str, replacement: str, *, count: int = 0, groups: bool = False
) -> tuple[str, int]:
    """`text` with the matches of `pattern` replaced, and how many they were.

    Args:
        replacement: literal, unless `groups`: then it names groups, as in ``\\1``.
        count: how many matches at most, from the beginning; 0: all.

    Raises:
        ActionTimedOut: matching took until the deadline.
        ActionCancelled: the action was cancelled meanwhile.
        ActionError: the pattern or the replacement is wrong.
    """
    from executor.model.errors import CONFIGURATION, ActionError

    if not groups and pattern and _SPECIAL.search(pattern) is None:
        found = text.count(pattern)
        return text.replace(pattern, replacement, count or -1), min(found, count or found)
    small = len(text) <= _SMALL and quick(pattern)
    work = replaced if small else _Child(run).replaced
    answer = work(text, pattern, replacement, count, groups)
    if isinstance(answer, str):
        raise ActionError(f"pattern {pattern!r} with {replacement!r}: {answer}", CONFIGURATION)
    return answer


def quick(pattern: str) -> bool:
    """Whether matching a small text cannot take long: at most one thing in it can be tried in several ways."""
    plain = re.sub(r"\\[^\d]", "", pattern)
    return len(_BRANCHES.findall(plain)) <= 1 and re.search(r"\\\d|\(\?", plain) is None


def replaced(text: str, pattern: str, replacement: str, count: int, groups: bool) -> tuple[str, int] | str:
    """The new text and the number of matches; or what is wrong with the pattern."""
    try:
        compiled = re.compile(pattern, re.MULTILINE)
        if groups:
            return compiled.subn(replacement, text, count=count)
        return compiled.subn(lambda _: replacement, text, count=count)
    except (re.error, IndexError, RecursionError, OverflowError) as error:
        return str(error)


class _Child:
    """`replaced` in a process of its own."""

    def __init__(self, run: "Run") -> None:
        self.run = run

    def replaced(self, text: str, pattern: str, replacement: str, count: int, groups: bool) -> tuple[str, int] | str:
        from executor.model.errors import RESOURCE, ActionError
        from workers.actions.processes import run_process

        content = text.encode("utf-8", "surrogateescape")
        finished = run_process(
            [sys.executable, "-I", "-S", __file__],
            name=f"matching {pattern!r}",
            stdin=marshal.dumps((content, pattern, replacement, count, groups)),
            env={},
            remaining_s=self.run.remaining_s,
            cancelled=self.run.cancelled,
            keep=_MOST,
        )
        if finished.stdout_cut or finished.exit_code != 0:
            words = finished.last_words.decode("utf-8", "replace").strip()[-300:]
            what = f"the result is longer than {_MOST} bytes" if finished.stdout_cut else words
            raise ActionError(f"replacing {pattern!r} in {len(content)} bytes failed: {what}", RESOURCE)
        answer = marshal.loads(finished.stdout)  # noqa: S302 - from the child that we started
        if isinstance(answer, str):
            return answer
        changed, found = answer
        return changed.decode("utf-8", "surrogateescape"), found


def main() -> None:
    """The child: one request on stdin, one answer on stdout."""
    content, *what = marshal.loads(sys.stdin.buffer.read())  # noqa: S302 - from the worker that started us
    answer = replaced(content.decode("utf-8", "surrogateescape"), *what)
    if not isinstance(answer, str):
        answer = (answer[0].encode("utf-8", "surrogateescape"), answer[1])  # type: ignore[assignment]
    sys.stdout.buffer.write(marshal.dumps(answer))


if __name__ == "__main__":
    main()

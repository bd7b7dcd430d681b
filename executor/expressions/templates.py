"""Text with ``${{ ... }}`` in it."""

from dataclasses import dataclass
from functools import lru_cache

from executor.expressions.tokens import STRING
from executor.model.errors import ExpressionError

MARK = "${{"
_WORTH_KEEPING = 1024


@dataclass(frozen=True, slots=True)
class Code:
    """An expression inside a text."""

    source: str
    start: int
    """Where the expression begins in the text, from 0."""


Part = str | Code


def parse_template(text: str) -> tuple[Part, ...]:
    """Split `text` into literal text and expressions; ``$${{`` is a literal ``${{``.

    Raises:
        ExpressionError: an expression is opened and not closed, or is empty.
    """
    # Whole files stand in templates too; a cache of those would only fill the memory.
    return _parse_again(text) if len(text) <= _WORTH_KEEPING else _parse(text)


@lru_cache(maxsize=1024)
def _parse_again(text: str) -> tuple[Part, ...]:
    return _parse(text)


def _parse(text: str) -> tuple[Part, ...]:
    parts: list[Part] = []
    literal, at = "", 0
    while (mark := text.find(MARK, at)) >= 0:
        if mark > at and text[mark - 1] == "$":
            literal += text[at : mark - 1] + MARK
            at = mark + len(MARK)
            continue
        start = mark + len(MARK)
        end = _end(text, start)
        if end < 0:
            raise ExpressionError("'${{' is opened and never closed by '}}'", text[mark:][:80], mark + 1)
        if not text[start:end].strip():
            raise ExpressionError("'${{ }}' holds no expression", text[mark : end + 2], mark + 1)
        literal += text[at:mark]
        if literal:
            parts.append(literal)
            literal = ""
        source = text[start:end]
        parts.append(Code(source.strip(), start + len(source) - len(source.lstrip())))
        at = end + 2
    literal += text[at:]
    return (*parts, literal) if literal or not parts else tuple(parts)


def is_whole(parts: tuple[Part, ...]) -> bool:
    """Whether the text is one expression and nothing else, so that the value keeps its type."""
    return len(parts) == 1 and isinstance(parts[0], Code)


def has_code(text: str) -> bool:
    """Whether the text holds an expression (a broken one counts)."""
    if MARK not in text:
        return False
    try:
        return any(isinstance(part, Code) for part in parse_template(text))
    except ExpressionError:
        return True


def _end(text: str, at: int) -> int:
    """Index of the first ``}}`` outside CEL's own strings and braces; -1: there is none."""
    depth = 0
    while at < len(text):
        letter = text[at]
        if letter in "'\"":
            found = STRING.match(text, at)
            at = found.end() if found else at + 1
            continue
        if letter == "{":
            depth += 1
        elif letter == "}":
            if depth == 0 and text.startswith("}}", at):
                return at
            depth = max(0, depth - 1)
        at += 1
    return -1

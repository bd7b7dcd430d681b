"""What stands in a CEL expression, read without compiling it: names, and what is accessed below them."""

import re
from dataclasses import dataclass
from functools import lru_cache

from executor.model.errors import ExpressionError

ROOTS = ("inputs", "context", "actions", "device", "execution", "error", "result", "snapshot")
MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
MAX_SOURCE = 1024
MAX_COMPREHENSIONS = 3

STRING = re.compile(
    r"'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"", re.S
)
_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
      | (?P<raw>[rR][bB]?(?:'''.*?'''|\"\"\".*?\"\"\"|'[^'\n]*'|"[^"\n]*")|[bB][rR](?:'[^'\n]*'|"[^"\n]*"))
      | (?P<string>[bB]?(?:'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
      | (?P<ident>[A-Za-z_]\w*)
      | (?P<number>0x[0-9a-fA-F]+u?|\d*\.\d+(?:[eE][-+]?\d+)?|\d+(?:[eE][-+]?\d+)?u?)
      | (?P<op>==|!=|<=|>=|&&|\|\||.)""",
    re.S | re.X,
)


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Access:
    """A name, and the steps below it that are written out: ``actions['a-b'].result.status``."""

    root: str
    steps: tuple[str, ...]
    ends: tuple[int, ...]
    """Where the root and each step end in the source."""
    start: int
    tested: bool = False
    """It is the argument of ``has()``."""
    open_index: bool = False
    """An index that is computed follows."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What an expression holds, as far as its text tells."""

    accesses: tuple[Access, ...]
    comprehensions: int
    builders: int
    """Of the comprehensions those that build a list."""
    additions: int
    variables: tuple[Token, ...]
    """Names that comprehensions bind."""
    private: Token | None = None
    """A name that begins with two underscores, kept for ourselves."""


@lru_cache(maxsize=8192)
def outline(source: str) -> Outline:
    """Read the names in an expression.

    Raises:
        ExpressionError: it is larger than 1 KB or has more than 3 comprehensions.
    """
    if len(source.encode("utf-8", "replace")) > MAX_SOURCE:
        raise ExpressionError("the expression is longer than 1 KB: move the work into an action", source[:80])
    tokens = tokenize(source)
    accesses: list[Access] = []
    variables: list[Token] = []
    comprehensions = builders = 0
    private = None
    for index, token in enumerate(tokens):
        if token.kind != "ident":
            continue
        if _member(tokens, index):
            if token.text in MACROS and _text(tokens, index + 1) == "(":
                comprehensions += 1
                builders += token.text in ("map", "filter")
                variables.extend(tokens[index + 2 : index + 3])
            continue
        if token.text.startswith("__"):
            private = private or token
        if token.text in ROOTS:
            accesses.append(_access(tokens, index))
    if comprehensions > MAX_COMPREHENSIONS:
        raise ExpressionError(f"the expression has more than {MAX_COMPREHENSIONS} comprehensions", source[:80])
    additions = sum(token.text == "+" for token in tokens)
    return Outline(tuple(accesses), comprehensions, builders, additions, tuple(variables), private)


def tokenize(source: str) -> list[Token]:
    """The tokens of CEL; what is none comes as single characters, and the compiler will name it."""
    return [
        Token(found.lastgroup or "op", found[0], found.start())
        for found in _TOKEN.finditer(source)
        if found.lastgroup != "space"
    ]


def _text(tokens: list[Token], index: int) -> str:
    return tokens[index].text if 0 <= index < len(tokens) else ""


def _member(tokens: list[Token], index: int) -> bool:
    """Whether the name stands behind a dot, and the dot behind something. A leading dot means the root: no member."""
    if _text(tokens, index - 1) != "." or index < 2:
        return False
    before = tokens[index - 2]
    return before.kind != "op" or before.text in (")", "]", "}")


def _access(tokens: list[Token], index: int) -> Access:
    root = tokens[index]
    tested = _text(tokens, index - 1) == "(" and _text(tokens, index - 2) == "has"
    steps: list[str] = []
    ends = [root.end]
    at = index + 1
    while True:
        name = tokens[at + 1] if at + 1 < len(tokens) else None
        if name is None:
            break
        if tokens[at].text == "." and name.kind == "ident" and _text(tokens, at + 2) != "(":
            steps.append(name.text)
            ends.append(name.end)
            at += 2
        elif tokens[at].text == "[" and name.kind in ("string", "raw") and _text(tokens, at + 2) == "]":
            steps.append(_literal(name))
            ends.append(tokens[at + 2].end)
            at += 3
        else:
            break
    tested = tested and bool(steps) and _text(tokens, at) == ")"
    return Access(root.text, tuple(steps), tuple(ends), root.start, tested, _text(tokens, at) == "[")


def _literal(token: Token) -> str:
    """The text of a plain string literal; one with escapes is no name of ours, and compares unequal to all."""
    text = token.text.lstrip("rRbB")
    return text[3:-3] if text.startswith(("'''", '"""')) else text[1:-1]

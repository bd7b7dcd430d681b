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
    gone_over: bool = False
    """A comprehension goes over it, so that one element of it is looked at in a step."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What an expression holds, as far as its text tells."""

    accesses: tuple[Access, ...]
    comprehensions: int
    nesting: int
    """How many comprehensions stand inside one another."""
    builders: int
    """Of the comprehensions those that build a list."""
    additions: int
    commas: int
    literals: bool
    """It builds lists or maps of more than constants."""
    variables: tuple[Token, ...]
    """Names that comprehensions bind."""
    private: Token | None = None
    """A name that begins with two underscores, kept for ourselves."""


@lru_cache(maxsize=2048)
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
    return Outline(
        accesses=tuple(accesses),
        comprehensions=comprehensions,
        nesting=_nesting(tokens),
        builders=builders,
        additions=sum(token.text == "+" for token in tokens),
        commas=sum(token.text == "," for token in tokens),
        literals=_literals(tokens),
        variables=tuple(variables),
        private=private,
    )


def _literals(tokens: list[Token]) -> bool:
    opened: list[bool] = []
    for index, token in enumerate(tokens):
        if token.text in ("[", "{"):
            opened.append(not _follows_a_value(tokens, index))
        elif token.text in ("]", "}") and opened:
            opened.pop()
        elif token.kind == "ident" and any(opened) and token.text not in ("true", "false", "null"):
            return True
    return False


def _nesting(tokens: list[Token]) -> int:
    opened: list[bool] = []
    deepest = 0
    for index, token in enumerate(tokens):
        if token.text == "(":
            opened.append(_text(tokens, index - 1) in MACROS and _member(tokens, index - 1))
            deepest = max(deepest, sum(opened))
        elif token.text == ")" and opened:
            opened.pop()
    return deepest


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
    return _text(tokens, index - 1) == "." and _follows_a_value(tokens, index - 1)


def _follows_a_value(tokens: list[Token], index: int) -> bool:
    before = tokens[index - 1] if index else None
    return before is not None and (before.kind != "op" or before.text in (")", "]", "}"))


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
    gone_over = _text(tokens, at + 1) in MACROS and _text(tokens, at) == "." and _text(tokens, at + 2) == "("
    return Access(root.text, tuple(steps), tuple(ends), root.start, tested, _text(tokens, at) == "[", gone_over)


def _literal(token: Token) -> str:
    """The text of a plain string literal; one with escapes is no name of ours, and compares unequal to all."""
    text = token.text.lstrip("rRbB")
    return text[3:-3] if text.startswith(("'''", '"""')) else text[1:-1]

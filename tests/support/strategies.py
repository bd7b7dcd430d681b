"""Strategies in a few words, and what the check says of them."""

from executor.documents import load_text
from executor.model.errors import Problem
from executor.validation import Checked, check
from support.sample_types import SAMPLES

HEAD = """name: restart-web
inputs:
  port: {type: integer, default: 8080}
  workdir: {type: string, required: true}
"""


def checked(text: str) -> Checked:
    return check(load_text(text, "s.yaml"), SAMPLES)


def problems(text: str) -> list[Problem]:
    found = checked(text)
    assert found.strategy is None
    return list(found.problems)


def only(text: str) -> Problem:
    (problem,) = problems(text)
    return problem


def actions(*written: str, head: str = HEAD) -> str:
    """A strategy with these actions, one a line; the first stands on line 6."""
    return head + "actions:\n" + "".join(f"  - {{{one}}}\n" for one in written)


def command(name: str, more: str = "") -> str:
    return f"id: {name}, uses: command, with: {{run: x}}, compensate: none{', ' if more else ''}{more}"

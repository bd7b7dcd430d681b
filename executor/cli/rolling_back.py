"""`rex rollback`: show what it would do, have it done, or answer a guided one."""

import getpass
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.cli.connecting import connect
from executor.cli.output import note, say, say_json
from executor.cli.running_strategies import follow
from executor.cli.statuses import COMPLETED, REMAINING, WRONG
from executor.client import ResolutionClient
from executor.model.errors import NotAllowedNow


@dataclass(frozen=True)
class Asked:
    """What was said on the command line."""

    execution: str
    mechanism: str | None
    actions: tuple[str, ...]
    retry: bool
    force: bool
    by: str
    as_json: bool
    wait_s: float | None
    config: Path | None

    @property
    def who(self) -> str:
        """Whoever asks, as it is kept with the execution."""
        return self.by or f"{_user()}@{socket.gethostname()}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return "unknown"


def show(asked: Asked) -> int:
    """The plan of a rollback."""
    with connect(asked.config).client() as client:
        planned = client.plan_rollback(
            asked.execution, mechanism=asked.mechanism, actions=asked.actions, force=asked.force, retry=asked.retry
        )
    if asked.as_json:
        say_json(planned)
    else:
        say("\n".join(_plan_lines(planned)))
    return WRONG if planned.get("refused") else COMPLETED


def _plan_lines(planned: dict[str, Any]) -> Iterator[str]:
    if refused := planned.get("refused"):
        yield f"refused: {refused}"
    if "stages" not in planned:
        return
    chosen = planned["chosen"]
    yield f"{planned['mechanism']}: {'; '.join(chosen['reasons'])}"
    for number, stage in enumerate(planned["stages"], 1):
        how = "side by side" if stage["kind"] == "group" and len(stage["steps"]) > 1 else "one after the other"
        name = f" {stage['name']}" if stage["name"] else ""
        yield f"stage {number}{name}, {how}"
        for step in stage["steps"]:
            yield f"  {_step_line(step)}"
    if planned["kept"]:
        yield f"kept: {', '.join(planned['kept'])}"
    if planned["remaining"]:
        yield "cannot be undone:"
        for row in planned["remaining"]:
            held = f" (held by {', '.join(row['unless'])})" if row.get("unless") else ""
            yield f"  {row['action']} on {row['device']}: {row['what']}: {row['reason']}{held}"
    if planned["seconds"] is not None:
        yield f"about {planned['seconds']:.1f} s, by how long the way forward took"


def _step_line(step: dict[str, Any]) -> str:
    what = step["undoes"] or step["what"]
    only = f", only where {step['unless']} cannot be restored" if step.get("unless") else ""
    with_it = f", and with it {', '.join(step['stands_for'])}" if step.get("stands_for") else ""
    return f"{step['step']} on {step['device']}: {step['how']}: {what}{with_it}{only} (about {step['seconds']:.1f} s)"


def take_back(asked: Asked) -> int:
    """Have an execution taken back, and follow it."""
    cluster = connect(asked.config)
    with cluster.client() as client:
        before = client.status(asked.execution)
        after = client.last_event(asked.execution)
        client.rollback(
            asked.execution, mechanism=asked.mechanism, actions=asked.actions, force=asked.force, retry=asked.retry,
            by=asked.who,
        )  # fmt: skip
    return _followed(asked, before, after)


def _followed(asked: Asked, before: dict[str, Any], after: int) -> int:
    status, report = follow(
        connect(asked.config), asked.execution, before["strategy"], as_json=asked.as_json, wait_s=asked.wait_s,
        after=after, known=before["actions"],
    )  # fmt: skip
    if report is None:
        return status
    # where somebody let it go on instead its own end counts
    return COMPLETED if status != REMAINING and report["rollback"]["status"] == "completed" else status


def answer(asked: Asked, given: list[str]) -> int:
    """Answer a guided rollback that waits; without an answer, ask at the terminal, or show what there is to choose."""
    cluster = connect(asked.config)
    with cluster.client() as client:
        before = client.status(asked.execution)
        offered = client.offered(asked.execution)
        if offered is None:
            raise NotAllowedNow(f"execution {asked.execution} does not wait for a choice: it is {before['status']}")
        choices = _read_choices(given)
        if not choices:
            if asked.as_json:
                say_json(offered)
                return COMPLETED
            say("\n".join(_offer_lines(offered)))
            if not sys.stdin.isatty():
                note(f"choose with: rex rollback {asked.execution} --choose ACTION=WISH ...")
                return COMPLETED
            choices = _ask(offered)
        after = client.last_event(asked.execution)
        return _choose(client, asked, choices) or _followed(asked, before, after)


def _choose(client: ResolutionClient, asked: Asked, choices: dict[str, str]) -> int:
    try:
        client.choose(asked.execution, choices, by=asked.who)
    except ValueError as error:
        note(f"rex: {error}")
        return WRONG
    return 0


def _read_choices(given: list[str]) -> dict[str, str]:
    choices: dict[str, str] = {}
    for text in given:
        name, found, wish = text.partition("=")
        if not (name and found and wish):
            raise NotAllowedNow(f"{text!r} is no choice: write ACTION=undo, ACTION=keep or ACTION=retry")
        if name in choices:
            raise NotAllowedNow(f"{name} is chosen twice: {choices[name]} and {wish}")
        choices[name] = wish
    return choices


def _offer_lines(offered: dict[str, Any]) -> Iterator[str]:
    for name, one in offered["actions"].items():
        yield f"{name} ({one['status']} on {one['device']}): {one['done']}"
        for step in one["undo"]:
            yield f"  undo: {step['how']}: {step['what']} (about {step['seconds']:.1f} s)"
        if one["cannot"]:
            yield f"  cannot be undone: {one['cannot']}"
        if one["needed_by"]:
            yield f"  needed by {', '.join(one['needed_by'])}"
        yield f"  choose {' or '.join(one['wishes'])}"
    yield f"what is left out: {offered['default']}"


def _ask(offered: dict[str, Any]) -> dict[str, str]:
    choices = {}
    for name, one in offered["actions"].items():
        while True:
            try:
                wish = input(f"{name}: {'/'.join(one['wishes'])} [{offered['default']}] ").strip() or offered["default"]
            except EOFError:
                raise NotAllowedNow("left without a choice: nothing was chosen") from None
            if wish in one["wishes"]:
                choices[name] = wish
                break
            say(f"{wish} is not possible: one of {', '.join(one['wishes'])}")
    return choices

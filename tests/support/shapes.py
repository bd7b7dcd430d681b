"""Drawn strategies for devices that are hosts: what they do stands in effect logs, and in files.

A line of an effect log is the time since the machine's start, which no moved clock changes, and
``NUMBER:WORD:ACTION``; words are do and end, undo and undone.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]
TIMEOUT_S = 6.0
"""Of every action: what a host does that is cut off is settled, at the latest, a second after this."""
_LOG = 'log() { read -r now _ < /proc/uptime; echo "$now $1" >> "$EFFECTS" && sync "$EFFECTS"; }; '


@dataclass(frozen=True)
class Wish:
    """What a drawn strategy should be like."""

    devices: Sequence[str]
    world: Path
    """Where its files lie, in a directory for each device."""
    naps: Sequence[float] = (0.0, 0.0, 0.05, 0.3)
    """Seconds, one of which each action and each undo takes."""
    most: int = 8
    """Actions at most."""
    fails: float = 0.5
    """How often one of its actions fails; 1: its last one, always."""
    idempotent: float = 0.3
    model: str | None = None
    files: float = 0.2
    """How many of its actions are files that are created, of which a successor can find out whether they are."""


Draw = Callable[[random.Random, int], Json]
"""Makes a strategy; the number tells its lines from those of others."""


def drawn(wish: Wish) -> Draw:
    """Strategies of any shape."""
    return lambda chance, number: _drawn(chance, number, wish)


def _drawn(chance: random.Random, number: int, wish: Wish) -> Json:
    model = wish.model or chance.choice(["sequential", "parallel", "phased"])
    count = chance.randint(2, wish.most)
    bad = count - 1 if wish.fails >= 1 else (chance.randrange(count) if chance.random() < wish.fails else -1)
    actions = [_action(chance, number, n, wish, fails=n == bad) for n in range(count)]
    document: Json = {"name": f"drawn-{number}", "model": model, "limits": {"parallel": chance.randint(2, 6)}}
    if model != "phased":
        return {**document, "actions": actions}
    cut = chance.randint(1, count - 1)
    return {**document, "phases": [{"name": "first", "actions": actions[:cut]},
                                   {"name": "second", "actions": actions[cut:]}]}  # fmt: skip


def _action(chance: random.Random, number: int, n: int, wish: Wish, *, fails: bool) -> Json:
    device = chance.choice(wish.devices)
    named = {"id": f"a{n}", "device": device, "retry": "none", "timeout": f"{TIMEOUT_S:g}s"}
    if not fails and chance.random() < wish.files:
        path = file_of(wish.world, number, named)
        return {**named, "uses": "file.create", "with": {"path": str(path), "content": "made", "parents": True}}
    after = chance.choice(["completed", "started"])
    made = nap(number, f"a{n}", device, chance.choice(wish.naps), fails=fails, after=after)
    return {**made, "idempotent": True} if chance.random() < wish.idempotent else made


def nap(number: int, name: str, device: str, seconds: float, *, fails: bool = False, after: str = "completed") -> Json:
    """An action that takes so long, as does its undo, and logs the beginning and the end of both."""
    return {
        "id": name, "device": device, "retry": "none", "timeout": f"{TIMEOUT_S:g}s",
        "uses": "command", "with": command(number, "do", "end", name, seconds, fails=fails),
        "compensate": {
            "uses": "command", "with": command(number, "undo", "undone", name, seconds), "retry": "none",
            "timeout": f"{TIMEOUT_S:g}s", "after": after,
        },
    }  # fmt: skip


def command(number: int, begin: str, end: str, name: str, nap_s: float, *, fails: bool = False) -> Json:
    """Parameters of a command that logs its beginning and its end."""
    after = "false" if fails else "true"
    return {"run": f"{_LOG}log {number}:{begin}:{name} && sleep {nap_s:g} && log {number}:{end}:{name} && {after}"}


def file_of(world: Path, number: int, made: Json) -> Path:
    """The file that an action of that strategy creates."""
    return world / made["device"] / f"{number}-{made['id']}"


def is_logged(made: Json) -> bool:
    """Whether what it does, and its undo, stand in the effect log."""
    return made["uses"] == "command" and "compensate" in made


def number_of(document: Json) -> int:
    return int(document["name"].rpartition("-")[2])


def actions_of(document: Json) -> list[Json]:
    return list(document.get("actions") or [made for phase in document["phases"] for made in phase["actions"]])


def ranks(document: Json) -> dict[str, int]:
    """Who may only begin when all of a lower rank have ended."""
    if document["model"] == "sequential":
        return {made["id"]: n for n, made in enumerate(document["actions"])}
    phases = document.get("phases") or [{"actions": document["actions"]}]
    return {made["id"]: n for n, phase in enumerate(phases) for made in phase["actions"]}

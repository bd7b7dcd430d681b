"""In which order actions run, as far as that decides what they may need and read."""

from typing import Any

from executor.documents.places import Path
from executor.expressions import near
from executor.model.levels import levels
from executor.validation.written import Report, Written, WrittenAction

UNORDERED = -1
"""The rank of an action in or behind a circle: it has no place, and nothing more is said about what it may read."""


def check_ids(written: Written, report: Report) -> None:
    """Ids are unique."""
    for action in written.actions:
        first = written.by_id.get(action.id) if action.id is not None else None
        if first is not None and first is not action:
            line, _ = report.document.position((*first.path, "id"))
            told = f", first on line {line}" if line else ""
            report.error(
                (*action.path, "id"), f"the id {action.id!r} is used twice{told}", "ids are unique: rename one"
            )


def check_order(written: Written, report: Report) -> dict[str, int]:
    """Check every need, and give each action its rank: actions of a lower rank have ended before it starts."""
    position = {name: number for number, name in enumerate(written.by_id)}
    needs: dict[str, list[str]] = {}
    for name, action in written.by_id.items():
        needs[name] = []
        for path, needed in _needs(action):
            if _known(written, report, path, action, needed):
                if written.sequential and position[needed] > position[name]:
                    message = f"{name!r} needs {needed!r}, which stands later"
                    report.error(path, message, "move one of them: a sequence runs in the order of the list")
                needs[name].append(needed)
    ranks = levels(needs)
    if len(ranks) < len(needs):
        _report_cycle({name: needed for name, needed in needs.items() if name not in ranks}, written, report)
    if written.sequential:
        return position
    if written.phases:
        return {name: action.phase for name, action in written.by_id.items()}
    return {name: ranks.get(name, UNORDERED) for name in needs}


def _needs(action: WrittenAction) -> list[tuple[Path, str]]:
    listed: Any = action.get("needs")
    found: list[tuple[Path, str]] = []
    for index, need in enumerate(listed if isinstance(listed, list) else []):
        needed = need.get("id") if isinstance(need, dict) else need
        if isinstance(needed, str):
            found.append(((*action.where("needs"), index), needed))
    return found


def _known(written: Written, report: Report, path: Path, action: WrittenAction, needed: str) -> bool:
    other = written.by_id.get(needed)
    if other is None:
        report.error(path, f"there is no action {needed!r}", near(needed, written.by_id))
    elif other is action:
        report.error(path, f"{needed!r} needs itself", "remove it")
    elif written.phases and other.phase >= action.phase:
        message = f"{action.id!r} needs {needed!r}, which is in no earlier phase"
        report.error(path, message, "a phase's actions run side by side: move one of them to another phase")
    else:
        return True
    return False


def _report_cycle(needs: dict[str, list[str]], written: Written, report: Report) -> None:
    """Each of these is in a cycle or behind one, so following any need that is left runs into it."""
    remaining = set(needs)
    for start in needs:
        trail: dict[str, int] = {}
        name = start
        while name in remaining and name not in trail:
            trail[name] = len(trail)
            name = next(one for one in needs[name] if one in needs)
        walked = list(trail)
        remaining -= set(walked)
        if name in trail:
            circle = [*walked[trail[name] :], name]
            shown = circle if len(circle) <= 12 else [*circle[:6], "...", *circle[-5:]]
            action = written.by_id[circle[0]]
            remedy = "remove one of these needs"
            report.error(action.where("needs"), f"needs go round in a circle: {' -> '.join(shown)}", remedy)

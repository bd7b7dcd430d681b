"""The whole check of a strategy, and its two faces."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from executor.documents import Document
from executor.model.errors import NotAvailable, Problem, StrategyInvalid
from executor.model.strategy import MAX_ACTIONS, Strategy
from executor.ports import ActionCatalogue
from executor.validation.calls import Types, calls, check_call, check_way_back
from executor.validation.conditions import Conditions
from executor.validation.fleets import check_fleets
from executor.validation.inputs import check_declared
from executor.validation.order import check_ids, check_order
from executor.validation.taking_back import check_taking_back
from executor.validation.unbuilt import check_unbuilt
from executor.validation.wording import found_by_models, strategy_keys
from executor.validation.written import Report, TooManyProblems, Written, read_written


@dataclass(frozen=True)
class Checked:
    """What the check found; without problems there is a strategy."""

    strategy: Strategy | None
    problems: tuple[Problem, ...]
    """Errors, in the order of the file."""
    warnings: tuple[Problem, ...]
    only_not_available: bool = False
    """All that is wrong is that something is not built yet."""


def check(document: Document, catalogue: ActionCatalogue) -> Checked:
    """Find everything that is wrong with a document, and everything that looks odd."""
    report = Report(document)
    strategy = None
    more: tuple[Problem, ...] = ()
    try:
        strategy = _checked(document.data, catalogue, report)
    except TooManyProblems:
        more = (Problem("there are more problems than are shown", file=document.file, remedy="mend these first"),)
    problems = (*report.problems("error"), *more)
    return Checked(None if problems else strategy, problems, report.problems("warning"), report.only_unbuilt)


def validate(document: Document, catalogue: ActionCatalogue) -> Strategy:
    """The strategy in a document.

    Raises:
        StrategyInvalid: with everything that is wrong.
        NotAvailable: nothing is wrong with it but that it uses what is not built yet.
    """
    found = check(document, catalogue)
    if found.only_not_available:
        raise NotAvailable(list(found.problems))
    if found.strategy is None:
        raise StrategyInvalid(list(found.problems))
    return found.strategy


def _checked(data: Any, catalogue: ActionCatalogue, report: Report) -> Strategy | None:
    if not isinstance(data, dict):
        report.error((), "a strategy is a map of keys to values", "it begins with `name:`")
        return None
    written = read_written(data)
    if len(written.actions) > MAX_ACTIONS:
        message = f"the strategy has {len(written.actions):,} actions; at most {MAX_ACTIONS:,} are possible"
        report.error(written.actions[MAX_ACTIONS].path, message, "split it")
        return None
    strategy = _modelled(written, report)
    _check_shape(written, report)
    check_unbuilt(written, report)
    check_declared(written, report)
    check_ids(written, report)
    check_fleets(written, report)
    ranks = check_order(written, report)
    types = Types(catalogue)
    for call in calls(written):
        check_call(call, types, report)
    Conditions(written, ranks, types, report).check_all()
    check_taking_back(written, types, report)
    if not _is_held_otherwise(data):
        for action in written.actions:
            check_way_back(action, types, report)
    return strategy


def _is_held_otherwise(data: dict[str, Any]) -> bool:
    """Whether a missing way back is no reason to warn: nothing is taken back, or a snapshot may hold what was done."""
    rollback = data.get("rollback")
    mechanism = rollback.get("mechanism") if isinstance(rollback, dict) else None
    return mechanism == "none" or (bool(data.get("snapshot")) and mechanism in (None, "adaptive", "snapshot"))


def _modelled(written: Written, report: Report) -> Strategy | None:
    data = _with_uses(written)
    try:
        return Strategy.model_validate(data)
    except ValidationError as error:
        for path, message, remedy in found_by_models(error, data, strategy_keys):
            report.error(path, message, remedy)
        return None


def _with_uses(written: Written) -> dict[str, Any]:
    """The data with `uses` taken over from `defaults`: the one field of an action that the model insists on."""
    data = dict(written.data)
    if not isinstance(written.defaults.get("uses"), str):
        return data

    def filled(actions: Any) -> Any:
        if not isinstance(actions, list):
            return actions
        return [{"uses": written.defaults["uses"], **one} if isinstance(one, dict) else one for one in actions]

    if "actions" in data:
        data["actions"] = filled(data["actions"])
    if written.phases:
        phases = [
            {**one, "actions": filled(one.get("actions"))} if isinstance(one, dict) else one for one in written.phases
        ]
        data["phases"] = phases
    return data


def _check_shape(written: Written, report: Report) -> None:
    data = written.data
    model = data.get("model", "sequential")
    if "phases" in data and "actions" in data:
        report.error(("phases",), "`actions` and `phases` exclude each other", "keep one of them")
    elif "phases" not in data and "actions" not in data:
        report.error((), "there are no actions", "add `actions`, or `phases` with `model: phased`")
    elif data.get("actions") == [] or data.get("phases") == []:
        report.error(("actions",) if "actions" in data else ("phases",), "there are no actions", "add one")
    if "phases" in data and model in ("sequential", "parallel"):
        report.error(("phases",), f"`phases` does not go with `model: {model}`", "write `model: phased`")

"""From a strategy file and the options of the call to what is submitted."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.catalogue import InstalledCatalogue
from executor.documents import load_file
from executor.model.errors import NotAvailable, Problem, StrategyInvalid
from executor.model.strategy import Action, Labels, Strategy
from executor.validation import check, check_context, check_inputs, convert_input

LOCAL = "local"
"""The device of a run's own cluster where the strategy names none."""


@dataclass(frozen=True)
class Given:
    """A checked strategy with the values of one run."""

    strategy: Strategy
    document: dict[str, Any]
    """The strategy as it was written."""
    inputs: dict[str, Any]
    context: dict[str, Any]
    warnings: tuple[Problem, ...]


def read(file: Path, inputs: list[str], context: Path | None) -> Given:
    """The strategy in `file`, checked with its inputs and context.

    Raises:
        StrategyInvalid: with everything that is wrong.
    """
    strategy, document, warnings = read_strategy(file)
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    named: set[str] = set()
    for text in inputs:
        name, equals, written = text.partition("=")
        declared = strategy.inputs.get(name)
        if not equals or not name:
            problems.append(Problem(f"--input {text!r} has no value", remedy="write --input name=value"))
        elif name in named:
            problems.append(Problem(f"--input {name} is given twice", f"inputs.{name}", remedy="give it once"))
        elif declared is None:
            values[name] = written  # `check_inputs` says what there is instead
        else:
            try:
                values[name] = convert_input(written, declared.type)
            except ValueError as error:
                problems.append(Problem(str(error), f"inputs.{name}"))
        named.add(name)
    try:
        checked = check_inputs(strategy, values)
    except StrategyInvalid as error:
        told = {problem.path for problem in problems}
        problems += [problem for problem in error.problems if problem.path not in told]
    if problems:
        raise StrategyInvalid(problems)
    data = load_file(context).data if context is not None else {}
    return Given(strategy, document, checked, check_context(data), warnings)


def read_strategy(file: Path) -> tuple[Strategy, dict[str, Any], tuple[Problem, ...]]:
    """The strategy in `file`, the same as plain data, and what looks odd.

    Raises:
        StrategyInvalid: with everything that is wrong.
    """
    # by its path, so that all that holds for a file holds for standard input too
    document = load_file(file if str(file) != "-" else Path("/dev/stdin"))
    found = check(document, InstalledCatalogue())
    if found.only_not_available:
        raise NotAvailable(list(found.problems))
    if found.strategy is None:
        raise StrategyInvalid(list(found.problems))
    return found.strategy, document.data, found.warnings


def devices_of(strategy: Strategy, environ: Mapping[str, str]) -> list[str]:
    """Every device that the strategy names, in its order, with a colon and its kind where it is an agent.

    An action without a device needs `LOCAL`, or for an agent one that is called by its kind; one on all devices, or on
    those with labels, runs on whatever there is.

    Args:
        strategy: it.
        environ: where REX_LABELS and REX_CAPABILITIES say what the devices of a run's own cluster announce.

    Raises:
        StrategyInvalid: an action asks for what none of them announces, and no other will come.
    """
    from executor.planning.merging import merged

    agents: dict[str, str] = {}
    named: dict[str, None] = {}
    for action in strategy.all_actions():
        one = merged(action, strategy.defaults)
        _refuse_unannounced(strategy, one, environ)
        if isinstance(one.devices, list):
            found = one.devices
        else:
            found = [one.device or one.agent or LOCAL] if one.devices is None or one.agent else []
        named.update(dict.fromkeys(found))
        if one.agent:
            agents.update(dict.fromkeys(found, one.agent))
    probes = strategy.rollback.verify or [] if strategy.rollback else []
    others = [*(probe.device for probe in probes), *(entry.device for entry in strategy.snapshot or [])]
    named.update(dict.fromkeys(filter(None, others)))
    return [f"{name}:{agents[name]}" if name in agents else name for name in named or [LOCAL]]


def _refuse_unannounced(strategy: Strategy, action: Action, environ: Mapping[str, str]) -> None:
    from executor.planning.merging import path_of

    listed = [environ.get(name, "").split(",") for name in ("REX_LABELS", "REX_CAPABILITIES")]
    announced = {part.strip() for parts in listed for part in parts if part.strip()}
    labels = action.devices.labels if isinstance(action.devices, Labels) else {}
    asked = {
        "devices": [f"{name}={value}" for name, value in labels.items()],
        "capabilities": action.capabilities or [],
    }
    for field, names in asked.items():
        if missing := [name for name in names if name not in announced]:
            message = f"no device of a run's own cluster announces {', '.join(missing)}"
            remedy = "set REX_BROKER_URL to a cluster whose workers do, or REX_LABELS and REX_CAPABILITIES for this run"
            raise StrategyInvalid([Problem(message, path_of(strategy, action, field), remedy=remedy)])

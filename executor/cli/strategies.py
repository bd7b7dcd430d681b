"""From a strategy file and the options of the call to what is submitted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.catalogue import InstalledCatalogue
from executor.documents import load_file
from executor.model.errors import NotAvailable, Problem, StrategyInvalid
from executor.model.strategy import Defaults, Strategy
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


def devices_of(strategy: Strategy) -> list[str]:
    """Every device that the strategy names, in its order, with a colon and its kind where it is an agent.

    An action without a device needs `LOCAL`, or for an agent one that is called by its kind.
    """
    defaults = strategy.defaults or Defaults()
    agents: dict[str, str] = {}
    actions = []
    for action in strategy.all_actions():
        kind = action.agent or defaults.agent
        actions.append(action.device or defaults.device or kind or LOCAL)
        if kind:
            agents[actions[-1]] = kind
    probes = strategy.rollback.verify or [] if strategy.rollback else []
    others = [*(probe.device for probe in probes), *(entry.device for entry in strategy.snapshot or [])]
    named = dict.fromkeys([*actions, *filter(None, others)])
    return [f"{name}:{agents[name]}" if name in agents else name for name in named]

"""Parameters of which exactly one may be given."""

from collections.abc import Sequence

from executor.action import Json


def exactly_one(parameters: Json, names: Sequence[str]) -> list[tuple[str, str]]:
    """The problem, as `ActionType.problems` wants it, when not exactly one of `names` is given."""
    given = [name for name in names if parameters.get(name) is not None]
    if len(given) == 1:
        return []
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    if not given:
        return [("", f"needs exactly one of {listed}")]
    return [(given[1], f"takes only one of {listed}, not {' and '.join(given)}")]

"""The parameters of a claimed action: its expressions evaluated, then checked by the model of its type."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from executor.action import ActionType, Json
from executor.expressions import evaluate, quoted_parameters, render
from executor.model.errors import CONFIGURATION, ActionError
from executor.model.execution import Claimed
from executor.model.plan import Call
from executor.model.secrets import SCHEME


@dataclass(frozen=True)
class Here:
    """What expressions may know of the device that they are evaluated on."""

    labels: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()


def values_of(claimed: Claimed, here: Here) -> Json:
    """What the expressions of a claimed action may read."""
    step = claimed.step
    values: Json = {
        "inputs": claimed.inputs,
        "context": claimed.context,
        "actions": dict(claimed.reads),
        "device": {"id": step.device, "labels": dict(here.labels), "capabilities": list(here.capabilities)},
        "execution": {"id": claimed.execution, "strategy": claimed.strategy, "attempt": claimed.attempt},
    }
    if step.purpose == "undo":
        record = claimed.undone.get("snapshot")
        values["error"] = claimed.undone.get("error")
        values["result"] = claimed.undone.get("result")
        values["snapshot"] = record.get("data") if isinstance(record, Mapping) else None
    return values


def rendered(kind: ActionType, call: Call, values: Json) -> Json:
    """The parameters of a call with every expression evaluated.

    Raises:
        ExpressionError: one failed.
        ActionError: what one gave names a secret.
    """
    plain: Json = render(call.with_, values, shell_quote_keys=quoted_parameters(call.uses))
    _refuse_chosen_secrets(call.with_, plain)
    for name in kind.conditions:
        if isinstance(call.with_.get(name), str):
            plain[name] = evaluate(call.with_[name], values)
    return plain


def checked_parameters(kind: ActionType, parameters: Json) -> BaseModel:
    """The parameters as the type's model.

    Raises:
        ActionError: a value that was only known now does not fit.
    """
    try:
        return kind.Parameters.model_validate(parameters)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'with'}: {problem['msg']}" for problem in error.errors()
        )
        raise ActionError(f"{kind.uses} cannot take its parameters: {problems}", CONFIGURATION) from None


def _refuse_chosen_secrets(written: Any, value: Any) -> None:
    """Only the strategy names secrets: in what an expression gives, strangers could choose which one is read.

    Raises:
        ActionError: a text begins as a reference that does not stand in the strategy like this.
    """
    if isinstance(value, str):
        if value.startswith(SCHEME) and value != written:
            raise ActionError("an expression gave a text that names a secret: only the strategy may", CONFIGURATION)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            _refuse_chosen_secrets(written.get(name) if isinstance(written, Mapping) else None, inner)
    elif isinstance(value, (list, tuple)):
        own = written if isinstance(written, (list, tuple)) else [None] * len(value)
        for each, inner in zip(own, value, strict=True):
            _refuse_chosen_secrets(each, inner)

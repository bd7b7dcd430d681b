"""``assert``: something must hold."""

from typing import Any

from pydantic import BaseModel, Field

from executor.action import ActionType, Json, Run, WayBack
from executor.model.errors import UNMET, ActionError
from executor.model.strategy import Model


class Assert(ActionType):
    """Fail unless a condition holds; it is evaluated by the engine, and arrives as true or false."""

    uses = "assert"
    idempotent = True
    isolated = False
    conditions = ("that",)

    class Parameters(Model):
        that: Any = Field(description="Condition in CEL, without braces")
        message: str = Field("", description="What to say when it does not hold")

    class Results(BaseModel):
        """Nothing."""

    def way_back(self, parameters: Json) -> WayBack:  # noqa: ARG002
        return WayBack.NOTHING_CHANGED

    def reach(self, parameters: Json) -> bool:  # noqa: ARG002
        """It changes nothing, so there is nothing that only its device has."""
        return True

    def execute(self, run: Run) -> Json:
        if run.parameters.that is not True:
            found = run.parameters.that
            detail = "" if found is False else f" (it gave {found!r}, not true)"
            raise ActionError((run.parameters.message or "the asserted condition does not hold") + detail, UNMET)
        return {}

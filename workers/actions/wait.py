"""``wait``: lets time pass."""

import time

from pydantic import BaseModel, Field

from executor.action import ActionType, Json, Run, WayBack
from executor.model.durations import Duration, format_duration
from executor.model.errors import ActionTimedOut
from executor.model.strategy import Model

_STEP_S = 0.04


class Wait(ActionType):
    """Wait for a time; a cancel ends it within 50 ms."""

    uses = "wait"
    idempotent = True
    isolated = False

    class Parameters(Model):
        for_: Duration = Field(alias="for", description="How long")

    class Results(BaseModel):
        waited_s: float

    def way_back(self, parameters: Json) -> WayBack:  # noqa: ARG002
        return WayBack.NOTHING_CHANGED

    def reach(self, parameters: Json) -> bool:  # noqa: ARG002
        """It changes nothing, so there is nothing that only its device has."""
        return True

    def execute(self, run: Run) -> Json:
        wanted: float = run.parameters.for_.total_seconds()
        begun = time.monotonic()
        reported = begun
        while (passed := time.monotonic() - begun) < wanted:
            if run.remaining_s() <= 0:
                asked = format_duration(run.parameters.for_)
                raise ActionTimedOut(f"the deadline passed after {passed:.1f} s of waiting for {asked}")
            run.proceed()
            if time.monotonic() - reported > 1:
                run.progress(passed / wanted)
                reported = time.monotonic()
            time.sleep(min(_STEP_S, wanted - passed))
        return {"waited_s": round(time.monotonic() - begun, 3)}

"""``http.check``: asks until a server answers as it should."""

import time

from pydantic import BaseModel, Field

from executor.action import ActionType, Json, Run, WayBack
from executor.model.durations import Duration, format_duration, parse_duration
from executor.model.errors import CONFIGURATION, EXTERNAL, ActionCancelled, ActionError, ActionTimedOut
from executor.model.strategy import Model
from workers.actions.http_exchange import Answer, Request, exchange
from workers.actions.http_reach import same_from_elsewhere
from workers.actions.http_request import url_problems

_ONE_TRY_S = 2.0
"""A try that hangs longer, or for a third of the time, is given up for the next one: the server may be restarting."""


class Check(ActionType):
    """Ask a URL again and again until it answers with the right status and text."""

    uses = "http.check"
    idempotent = True
    permissions = ("http.request",)
    isolated = False

    class Parameters(Model):
        url: str = Field(description="http:// or https:// URL")
        status: int = Field(200, ge=100, le=599, description="The status that it must answer")
        contains: str | None = Field(None, description="Text that must be in the body")
        within: Duration = Field(parse_duration("10s"), description="How long to go on asking")
        interval: Duration = Field(parse_duration("250ms"), description="Pause between two tries")

    class Results(BaseModel):
        status: int
        tries: int
        elapsed_s: float

    def way_back(self, parameters: Json) -> WayBack:  # noqa: ARG002
        return WayBack.NOTHING_CHANGED

    def reach(self, parameters: Json) -> bool:
        return same_from_elsewhere(parameters)

    def problems(self, parameters: Json) -> list[tuple[str, str]]:
        return url_problems(parameters)

    def execute(self, run: Run) -> Json:
        parameters = run.parameters
        begun = time.monotonic()
        within_s: float = parameters.within.total_seconds()
        tries, last = 0, ""
        while True:
            run_out = begun + min(within_s, time.monotonic() - begun + run.remaining_s())
            tries += 1
            answer, said = self._ask(run, run_out, within_s)
            last = said or last or "no try was answered in time"
            if answer is not None:
                elapsed = round(time.monotonic() - begun, 4)
                return {"status": answer.status, "tries": tries, "elapsed_s": elapsed}
            pause_until = min(time.monotonic() + parameters.interval.total_seconds(), run_out)
            while (pause := pause_until - time.monotonic()) > 0:
                if run.cancelled() and run.remaining_s() > 0:
                    raise ActionCancelled(f"asking {parameters.url} was cancelled after {tries} tries; {last}")
                time.sleep(min(pause, 0.04))
            if time.monotonic() >= run_out:
                wanted = f"{parameters.status}" + (f" with {parameters.contains!r}" if parameters.contains else "")
                raise ActionError(
                    f"{parameters.url} did not answer {wanted} within {format_duration(parameters.within)} "
                    f"({tries} tries in {time.monotonic() - begun:.1f} s); {last}",
                    EXTERNAL,
                )

    def _ask(self, run: Run, run_out: float, within_s: float) -> tuple[Answer | None, str]:
        """The answer if it is as wanted; else what came instead, empty when the time was up before anything came."""
        parameters = run.parameters
        until = min(run_out, time.monotonic() + max(_ONE_TRY_S, within_s / 3))
        try:
            answer = exchange(
                Request("GET", parameters.url),
                remaining_s=lambda: max(until - time.monotonic(), 0.0),
                cancelled=run.cancelled,
            )
        except ActionTimedOut as error:
            return None, f"last try: {error}" if until < run_out else ""
        except ActionCancelled:
            if run.remaining_s() > 0:
                raise
            return None, ""
        except ActionError as error:
            if error.classification == CONFIGURATION:
                raise
            return None, f"last try: {error}"
        if answer.status == parameters.status and (not parameters.contains or parameters.contains in answer.text):
            return answer, ""
        return None, f"last answer: {answer.status} {answer.text.strip()[:300]!r}"

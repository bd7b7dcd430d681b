"""Action types for tests of what is checked before a run: small, and like the real ones in what is checked."""

from typing import Any, Literal

from pydantic import Field

from executor.action import ActionType, Json, Run, WayBack
from executor.catalogue import MemoryCatalogue
from executor.model.durations import Duration
from executor.model.strategy import Model


class Command(ActionType):
    """Run a command."""

    uses = "command"

    class Parameters(Model):
        run: str | None = None
        argv: list[str] | None = None
        env: dict[str, str] = Field(default_factory=dict)
        parse: Literal["text", "json", "lines"] = "text"
        expect_exit: list[int] | None = None

    class Results(Model):
        exit_code: int
        stdout: str
        parsed: Any = None

    def problems(self, parameters: Json) -> list[tuple[str, str]]:
        return [] if "run" in parameters or "argv" in parameters else [("", "needs one of run and argv")]

    def execute(self, run: Run) -> Any:
        return {}


class Check(ActionType):
    """Look whether a service answers."""

    uses = "http.check"

    class Inner(Model):
        pattern: str

    class Parameters(Model):
        url: str
        status: int = 200
        within: Duration | None = None
        contains: "Check.Inner | None" = None

    class Results(Model):
        status: int
        text: str | None

    def way_back(self, parameters: Json) -> WayBack:
        return WayBack.NOTHING_CHANGED

    def execute(self, run: Run) -> Any:
        return {}


class Assert(ActionType):
    """Fail unless a condition holds."""

    uses = "assert"
    conditions = ("that",)

    class Parameters(Model):
        that: Any
        message: str = ""

    def way_back(self, parameters: Json) -> WayBack:
        return WayBack.NOTHING_CHANGED

    def execute(self, run: Run) -> Any:
        return {}


Check.Parameters.model_rebuild()

SAMPLES = MemoryCatalogue(Command, Check, Assert)

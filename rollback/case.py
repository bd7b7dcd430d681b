"""One execution that is to be taken back: what is known of it, and the ways back that there are."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from config.settings import Settings
from executor.expressions import render
from executor.model.errors import ExpressionError
from executor.model.execution import READ, TERMINAL, readable_all
from executor.model.fan_out import expanded
from executor.model.plan import FanOut, Plan, Stage, Step
from executor.model.rollback import Chosen, Estimate, Mechanism, RollbackRequest, Wish
from executor.ports import Ledger
from executor.taken_back import generations
from rollback.compensation import Wanted, WayBackPlan, plan_way_back
from rollback.earlier import Earlier, read_earlier
from rollback.selection import Facts, choose, estimate
from rollback.snapshots import Rows, saved_states
from rollback.verification import add_verification, add_verification_points


class Case:
    """Reads what it needs, when it needs it; changes nothing."""

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        execution: str,
        head: Mapping[str, str],
        *,
        forward: Plan,
        request: RollbackRequest | None = None,
    ) -> None:
        """
        Args:
            ledger: where to read.
            settings: how sequences are cut, and the default timeout.
            execution: its id.
            head: its own fields.
            forward: the plan of generation 0.
            request: what a person asked for; None: it failed, and its strategy says how it is taken back.
        """
        self._ledger = ledger
        self._settings = settings
        self.execution = execution
        self.head = head
        self.forward = forward
        self.request = request

    @cached_property
    def steps(self) -> dict[str, Step]:
        """The way forward, in its order."""
        steps = self._ledger.steps(self.execution, 0)
        return {name: steps[name] for stage in self.forward.stages for name in stage.steps}

    @cached_property
    def rows(self) -> Rows:
        """What became of it."""
        return self._ledger.actions(self.execution, 0, list(self.steps))

    @cached_property
    def earlier(self) -> Earlier:
        """What earlier rollbacks did."""
        goes = generations(self._ledger, self.execution, self.head)
        listed = json.loads(self.head.get("remaining") or "[]") if goes else []
        return read_earlier(goes, (row["action"] for row in listed))

    @property
    def turn(self) -> str:
        """Of what was read: what is planned by it is void when something was asked for since."""
        return self.head.get("turn", "0")

    @cached_property
    def stage(self) -> tuple[str, ...]:
        """The actions of the stage at which the way forward stopped."""
        number = int(self.head.get("stage", -1))
        # of a later rollback the number is that of a stage of the way back
        known = int(self.head.get("last", 0)) == 0 and 0 <= number < len(self.forward.stages)
        return self.forward.stages[number].steps if known else ()

    # -- plans --------------------------------------------------------------------------------------------------------

    def way_back(self, mechanism: Mechanism, only: frozenset[str] | None = None) -> WayBackPlan:
        """The plan of one mechanism, with what is verified on the way."""
        settings = self._settings.execution
        length, fuse = settings.sequence_length, settings.fuse
        wanted = Wanted(
            mechanism=mechanism,
            only=only,
            force=bool(self.request and self.request.force),
            quiet_ms=self._quiet_ms(),
            earlier=self.earlier,
        )
        made = plan_way_back(self.forward, self.steps, self.rows, wanted, length=length, fuse=fuse)
        probes = self.forward.rollback_verify
        verify = add_verification_points if mechanism == "phased" and made.phases else add_verification
        verify(made, probes, length=length, fuse=fuse)
        self._tell(made)
        return made

    def _tell(self, made: WayBackPlan) -> None:
        """Say what is taken back with its values."""
        for row in made.remaining:
            row["what"] = self.told(row["what"], row["action"])
        for name, step in made.steps.items():
            what = step.what or step.call.shown()
            if "${{" in what or step.purpose == "verify":
                made.steps[name] = step.model_copy(update={"what": self.told(what, step.undoes or "")})

    def _quiet_ms(self) -> tuple[int, int] | None:
        """Nothing of an execution that had ended ran until its rollback was asked for."""
        if self.request is None:
            return None
        ends = [int(row["finished"]) for row in self.rows.values() if row.get("finished")]
        waits = self.head["state"] not in TERMINAL and "rb_started" in self.head
        # an earlier rollback leaves what it found changed, so the time before it counts too
        return max(ends, default=0), int(self.head["rb_started"]) if waits else self._ledger.now_ms()

    def timeout_s(self, way_back: WayBackPlan) -> float:
        """As the strategy says; else the configured time beyond what its steps may take one by one."""
        if self.forward.rollback_timeout_s is not None:
            return self.forward.rollback_timeout_s
        longest = sum(self._longest_s(stage, way_back.steps) for stage in way_back.stages)
        return self._settings.rollback.rollback_timeout.total_seconds() + longest

    def told(self, text: str, action: str = "") -> str:
        """Text of a strategy with its expressions filled in, as far as they can be: for people.

        Args:
            text: such as ``command ./ctl ${{ inputs.port }}``.
            action: whose result, error and snapshot a compensation reads.
        """
        if "${{" not in text:
            return text
        row = self.rows.get(action, {})
        own = json.loads(row.get("outcome") or "{}")
        record = json.loads(row.get("undo") or "null") or {}
        values = {
            **self._values,
            "result": own.get("result"),
            "error": own.get("error"),
            "snapshot": record.get("data"),
        }
        try:
            return str(render(text, values))
        except ExpressionError:
            return text

    @cached_property
    def _values(self) -> dict[str, Any]:
        rows = readable_all([name, *(row.get(part, "") for part in READ)] for name, row in self.rows.items())
        inputs, context = (json.loads(self.head.get(name) or "{}") for name in ("inputs", "context"))
        return {"inputs": inputs, "context": context, "actions": rows}

    def _longest_s(self, stage: Stage, steps: Mapping[str, Step]) -> float:
        each = [steps[name].timeout_s * steps[name].retry.max_attempts for name in stage.steps]
        if stage.kind == "sequence":
            return sum(each)
        rolling: dict[FanOut, list[float]] = {}
        for name, seconds in zip(stage.steps, each, strict=True):
            if (fan_out := steps[name].fan_out) and fan_out.at_once:
                rolling.setdefault(fan_out, []).append(seconds)
        windows = [_one_by_one_s(seconds, fan_out.at_once) for fan_out, seconds in rolling.items()]
        return max([_one_by_one_s(each, self.forward.parallel), *windows])

    # -- which --------------------------------------------------------------------------------------------------------

    @property
    def asked(self) -> str:
        """The mechanism as written: by a person, else in the strategy."""
        if self.request is not None:
            if self.request.actions:
                return "partial"
            if self.request.mechanism is not None:
                return self.request.mechanism
        written = self.forward.rollback_mechanism
        return "adaptive" if written == "none" else written

    @property
    def named(self) -> frozenset[str]:
        """What a partial rollback takes back."""
        asked = self.request.actions if self.request else ()
        return frozenset(expanded(asked or self.forward.rollback_actions, self.forward.fan_outs))

    def determine(self) -> tuple[Chosen, WayBackPlan]:
        """The mechanism with its reasons, and its plan."""
        asked, by = self.asked, self.request.by if self.request else ""
        ways = {asked: self._way(asked)} if asked in ("compensate", "snapshot", "partial", "phased") else self._ways()
        estimates = [self._estimated(name, made) for name, made in ways.items()]
        if asked != "adaptive":
            name: Mechanism = estimates[0].mechanism
            wished = self.request is not None and bool(self.request.mechanism or self.request.actions)
            why = f"asked for{f' by {by}' if by else ''}" if wished else "the strategy says so"
            chosen = Chosen(mechanism=name, asked=asked, reasons=(why,), estimates=tuple(estimates))
            if not estimates[0].possible:
                raise NoWay(estimates[0].reason)
        else:
            chosen = choose(estimates, self._facts())
        made = ways[chosen.mechanism]
        if isinstance(made, str):
            raise TypeError(f"{chosen.mechanism} was chosen and is not possible: {made}")
        at_ms = int(self.head["rb_started"]) if by and "rb_started" in self.head else None
        return chosen.model_copy(update={"kept": tuple(made.kept), "by": by, "at_ms": at_ms}), made

    def _ways(self) -> dict[str, WayBackPlan | str]:
        return {name: self._way(name) for name in ("compensate", "snapshot", "phased", "partial")}

    def _way(self, name: Any) -> WayBackPlan | str:
        """The plan of a mechanism, or why there is none."""
        if name == "snapshot" and not saved_states(self.steps.values(), self.rows):
            return "no snapshot was taken"
        if name == "phased" and self.asked == "adaptive" and not self._verifies:
            return "there is nothing to verify between phases"
        if name == "partial" and not self.named:
            return "no actions are named"
        return self.way_back(name, self.named if name == "partial" else None)

    @property
    def _verifies(self) -> bool:
        phases = [stage for stage in self.forward.stages if self.steps[stage.steps[0]].purpose == "forward"]
        several = len({stage.name or number for number, stage in enumerate(phases) if stage.kind == "group"}) > 1
        return bool(self.forward.rollback_verify) and several

    def _estimated(self, name: Any, made: WayBackPlan | str) -> Estimate:
        if isinstance(made, str):
            return Estimate(mechanism=name, possible=False, reason=made)
        return estimate(name, made, self.rows, self.forward.parallel)

    def _facts(self) -> Facts:
        changing = [
            self.rows[name] for name, step in self.steps.items()
            if step.purpose == "forward" and step.way_back.rule not in ("nothing", "none")
        ]  # fmt: skip
        began = [int(row["started"]) for row in changing if row.get("effect", "none") != "none"]
        error = self.head.get("error")
        return Facts(
            error=json.loads(error) if error else None,
            actions=len(began),
            age_s=(self._ledger.now_ms() - min(began)) / 1000 if began else 0.0,
            verifies=self._verifies,
        )

    # -- guided -------------------------------------------------------------------------------------------------------

    def by_choice(self, choices: Mapping[str, Wish], by: str) -> tuple[Chosen, WayBackPlan]:
        """What a person chose, action by action; whatever is not named gets the configured default."""
        default = self._settings.rollback.choice_default
        undone = frozenset(name for name in self.steps if choices.get(name, default) == "undo")
        made = self.way_back("guided", undone)
        why = f"chosen by {by}" if by else f"nobody chose in time: {default} is configured"
        chosen = Chosen(
            mechanism="guided", asked="guided", reasons=(why,), kept=tuple(made.kept), by=by, choices=dict(choices),
            at_ms=self.chosen_at_ms, estimates=(self._estimated("guided", made),),
        )  # fmt: skip
        return chosen, made

    @property
    def chosen_at_ms(self) -> int | None:
        """When a person chose; None: nobody did."""
        return int(self.head["choice_at"]) if "choice" in self.head else None

    def to_run_again(self, choices: Mapping[str, Wish]) -> list[str]:
        """The actions of the open stage that go on where a person said ``retry`` of one: what is not final, too."""
        again = [name for name, wish in choices.items() if wish == "retry" and name in self.stage]
        if not again:
            return []
        # with another fatal failure standing there the execution could not go on
        again += [name for name in self.stage if "fatal" in self.rows[name]]
        broken_off = [
            n for n in self.stage if self.rows[n].get("status", "pending") in ("pending", "ready", "cancelled")
        ]
        return [name for name in self.stage if name in {*again, *broken_off}]


def _one_by_one_s(each: Sequence[float], at_once: int) -> float:
    """How long all of them take at most, of which only so many run at once; 0: all."""
    slots = min(at_once or len(each), len(each))
    # whoever begins last may be the longest
    return sum(each) / slots + max(each) * (1 - 1 / slots) if slots < len(each) else max(each)


class NoWay(Exception):
    """The mechanism that was asked for is not possible."""

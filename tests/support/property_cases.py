"""Strategies of every shape, drawn: what each action is told to do, and in what way it is taken back or not."""

from dataclasses import dataclass, replace

from hypothesis import strategies as st

DEVICES = ("d1", "d2", "d3")
FILES = ("create", "edit", "delete")
"""Kinds of actions that take themselves back by what they saved."""


@dataclass(frozen=True)
class Way:
    """A way back as written, and how it behaves."""

    rule: str = "completed"
    """auto; completed or started: declared with that `after`; none; lacking: none, where one had to be declared."""
    does: str = "works"
    """works; once: its first attempt fails; later: all fail in the first rollback; fails; hangs; lies."""


@dataclass(frozen=True)
class Fallback:
    does: str = "works"
    """works, fails (before its effect), breaks (after it)."""
    way: Way = Way()


@dataclass(frozen=True)
class Act:
    """One action: its fields in the strategy, and its behaviour."""

    name: str = "a0"
    kind: str = "command"
    """command, python, or one of FILES."""
    device: str = "d1"
    does: str = "works"
    """works; fails, breaks: before, after its effect; flaky, shaky: its first attempt so; hangs: after its effect."""
    way: Way = Way()
    attempts: int = 1
    on_failure: str = "rollback"
    when: str | bool | None = None
    """False; or the name of an action that must have succeeded."""
    needs: tuple[str, ...] = ()
    idempotent: bool = False
    unmet: bool = False
    """`success` does not hold."""
    nap: bool = False
    fallback: Fallback | None = None


@dataclass(frozen=True)
class Case:
    """One strategy, and what happens to it from outside."""

    model: str = "sequential"
    acts: tuple[Act, ...] = ()
    cuts: tuple[int, ...] = ()
    """Sizes of the phases; empty: phased by `needs`."""
    mechanism: str = "adaptive"
    named: tuple[str, ...] = ()
    snapshot: tuple[str, ...] = ()
    """Devices whose directory is saved before the first action."""
    verify: bool = False
    criterion: bool | None = None
    unmet_phase: int | None = None
    """The phase whose `verify` does not hold."""
    parallel: int = 5
    cancel_after: int | None = None
    """Cancelled when so many actions have ended."""
    cancel_undoes: bool = True
    max_failures: int | None = None
    later: bool = False
    """Taken back later, where its end left everything done; or with `retry`, where something is left."""

    def rank(self) -> dict[str, int]:
        """Who may only begin when all of a lower rank have ended."""
        if self.model == "sequential":
            return {act.name: n for n, act in enumerate(self.acts)}
        if self.cuts:
            phase = [n for n, size in enumerate(self.cuts) for _ in range(size)]
            return {act.name: phase[n] for n, act in enumerate(self.acts)}
        found: dict[str, int] = {}
        for act in self.acts:
            found[act.name] = 1 + max((found[need] for need in act.needs), default=-1)
        return found

    def target(self, act: Act) -> str:
        """What an action of FILES changes, below its device's directory: edits share a file where they cannot race."""
        if act.does == "fails" and act.kind == "create":
            return "there"
        if act.kind != "edit":
            return f"{act.kind}-{act.name}"
        rank = self.rank()
        place = (act.device, rank[act.name])
        racing = [one for one in self.acts if one.kind == "edit" and (one.device, rank[one.name]) == place]
        return "shared" if len(racing) == 1 else f"edit-{act.name}"


@dataclass(frozen=True)
class Fault:
    """What befalls the cluster, as soon as so many events of that name were seen in the batch."""

    kind: str
    """kill, crash (at one of the points of `workers.crash`), freeze."""
    victim: str
    """edge (serves d1), rest (d2, d3), control, or server."""
    event: str
    count: int


_OFTEN, _SOMETIMES, _RARELY = (st.integers(0, n).map(lambda drawn, n=n: drawn == n) for n in (2, 5, 15))


@st.composite
def ways(draw: st.DrawFn, kind: str) -> Way:
    if kind != "command":
        return Way("none" if draw(_RARELY) else "auto")
    rule = draw(st.sampled_from(["completed", "completed", "completed", "started", "started", "none", "lacking"]))
    if rule in ("none", "lacking") or not draw(_OFTEN):
        return Way(rule)
    return Way(rule, draw(st.sampled_from(["once", "later", "fails", "lies", "works", "works", "hangs"])))


def _behaviour(draw: st.DrawFn, kind: str) -> str:
    if not draw(_SOMETIMES):
        return "works"
    if kind in FILES:
        return "fails"
    if kind == "python":
        return draw(st.sampled_from(["fails", "breaks"]))
    return "hangs" if draw(_SOMETIMES) else draw(st.sampled_from(["fails", "breaks", "flaky", "shaky"]))


@st.composite
def acts(draw: st.DrawFn) -> tuple[Act, tuple[int, ...], int | None]:
    """An action without a name, with the numbers of what it needs and reads, to be fitted in."""
    kinds = ["command"] * 5 + list(FILES)
    kind = "python" if draw(_RARELY) else draw(st.sampled_from(kinds))
    does = _behaviour(draw, kind)
    fallback = None
    if kind == "command" and does != "works" and draw(_OFTEN):
        fallback = Fallback(draw(st.sampled_from(["works", "works", "fails", "breaks"])), draw(ways("command")))
    made = Act(
        kind=kind, device=draw(st.sampled_from(DEVICES)), does=does, way=draw(ways(kind)), fallback=fallback,
        attempts=2 if does in ("flaky", "shaky") or draw(_SOMETIMES) else 1,
        on_failure=draw(st.sampled_from(["rollback", "rollback", "rollback", "continue", "stop"])),
        when=False if draw(_RARELY) else None, unmet=draw(_RARELY),
        idempotent=draw(_SOMETIMES), nap=draw(_RARELY),
    )  # fmt: skip
    needs = tuple(draw(st.lists(st.integers(0, 29), max_size=2)))
    return made, needs, draw(st.integers(0, 29)) if draw(_RARELY) else None


@st.composite
def cases(draw: st.DrawFn) -> Case:
    most = draw(st.sampled_from([3, 5, 8, 12, 30]))
    drawn = draw(st.lists(acts(), min_size=1, max_size=most))
    model = draw(st.sampled_from(["sequential", "parallel", "phased"]))
    cuts: tuple[int, ...] = ()
    if model == "phased" and draw(st.booleans()):
        first = draw(st.integers(1, len(drawn)))
        second = draw(st.integers(0, len(drawn) - first))
        cuts = tuple(size for size in (first, second, len(drawn) - first - second) if size)
    case = _fitted(Case(model=model, cuts=cuts), drawn)
    mechanism = draw(st.sampled_from(["adaptive", "compensate", "phased", "snapshot", "partial", "none"]))
    saves = mechanism == "snapshot" or (mechanism == "adaptive" and draw(st.booleans()))
    case = replace(
        case, mechanism=mechanism, verify=draw(_OFTEN), criterion=draw(st.sampled_from([None, None, True, False])),
        snapshot=tuple(draw(st.lists(st.sampled_from(DEVICES), min_size=1, max_size=3, unique=True))) if saves else (),
        unmet_phase=draw(st.integers(0, len(cuts) - 1)) if cuts and draw(_RARELY) else None,
        parallel=draw(st.integers(1, 6)), cancel_after=draw(st.integers(0, 6)) if draw(_SOMETIMES) else None,
        cancel_undoes=not draw(_SOMETIMES), max_failures=draw(st.integers(0, 2)) if draw(_SOMETIMES) else None,
        later=draw(st.booleans()),
    )  # fmt: skip
    if mechanism == "partial":
        case = replace(case, named=_closed(case, draw(st.sets(st.sampled_from(case.acts), min_size=1))))
    return case


def _fitted(case: Case, drawn: list[tuple[Act, tuple[int, ...], int | None]]) -> Case:
    """Names and needs: what is needed stands earlier, of phases in an earlier one; what is read has ended by then."""
    for n, (act, numbers, read) in enumerate(drawn):
        made = replace(act, name=f"a{n}")
        rank = replace(case, acts=(*case.acts, made)).rank()
        earlier = [one.name for one in case.acts if not case.cuts or rank[one.name] < rank[made.name]]
        needs = {earlier[number % len(earlier)] for number in numbers if earlier}
        made = replace(made, needs=tuple(sorted(needs)))
        rank = replace(case, acts=(*case.acts, made)).rank()
        readable = [one.name for one in case.acts if rank[one.name] < rank[made.name]]
        if read is not None and readable and made.when is None:
            made = replace(made, when=readable[read % len(readable)])
        case = replace(case, acts=(*case.acts, made))
    return case


def _closed(case: Case, chosen: set[Act]) -> tuple[str, ...]:
    """Those, and whatever needs one of them or reads it: these may not be kept."""
    names = {act.name for act in chosen}
    for act in case.acts:
        if names & {*act.needs, act.when}:
            names.add(act.name)
    return tuple(act.name for act in case.acts if act.name in names)


@st.composite
def faults(draw: st.DrawFn) -> Fault | None:
    if not draw(_OFTEN):
        return None
    victim = draw(st.sampled_from(["edge", "rest", "control", "server"]))
    kinds = {"server": ["kill"], "control": ["kill", "crash"]}.get(victim, ["kill", "crash", "crash", "freeze"])
    event = draw(st.sampled_from(
        ["execution:action:started", "execution:action:completed", "rollback:action:started",
         "rollback:action:completed", "execution:stopping", "rollback:planned", "execution:stage:started"]
    ))  # fmt: skip
    return Fault(draw(st.sampled_from(kinds)), victim, event, draw(st.integers(1, 6)))


def batches(most: int = 6, *, with_faults: bool = True) -> st.SearchStrategy[tuple[list[Case], Fault | None]]:
    """Cases that run side by side on one cluster, and what befalls it meanwhile."""
    return st.tuples(st.lists(cases(), min_size=1, max_size=most), faults() if with_faults else st.none())

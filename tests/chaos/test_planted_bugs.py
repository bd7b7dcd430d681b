"""Tests of the property test: planted bugs turn it red, and the judge sees each thing that can be wrong."""

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.cluster import WORKER, Cluster
from support.judge import Evidence, Go, judge
from support.property_bench import Bench
from support.property_bugs import planted
from support.property_cases import Act, Case, Way
from support.property_documents import document, lay_out, world
from support.property_search import search
from support.waiting import wait_until


@pytest.mark.cluster
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("bug", "found"),
    [
        ("skipped_undo", "5: a1 was neither taken back nor listed"),
        ("wrong_order", "which came after it"),
        ("doubled_compensation", "was taken back 2 times"),
        ("undo_of_what_failed", "was taken back, and should not be"),
        ("forgotten_doubt", r"neither taken back nor listed: \[\['unknown'\]"),
    ],
)
def test_a_planted_bug_turns_the_property_red(tmp_path_factory: pytest.TempPathFactory, bug: str, found: str) -> None:
    """Each is found within 150 drawn cases."""
    folder = tmp_path_factory.mktemp("b")
    bench = Bench(folder, WORKER, **planted(bug, folder / "bug"))
    try:
        with pytest.raises(AssertionError, match=found):
            search(bench, 1, 150, with_faults=False, shrinking_s=0)
    finally:
        bench.close()


ZOMBIE = Case(
    acts=(
        Act("a0", idempotent=True, nap=True),
        Act("a1", does="fails"),
    ),
    mechanism="compensate",
)


def freeze_and_wake(folder: Path, **environment: str) -> list[str]:
    """A worker stands still before it settles, another one takes over, and the first one wakes up meanwhile."""
    root = folder / "case"
    lay_out(ZOMBIE, root)
    before = world(root)
    cluster = Cluster(folder, program=WORKER, **environment)
    try:
        cluster.coordinator(REX_EXECUTION__FUSE="false")
        cluster.worker("d1", name="first", **cluster.crash_at("pre-settle", "a0", "STOP"))
        cluster.ready()
        execution = cluster.client.submit(document(ZOMBIE, root))
        wait_until(lambda: cluster.crashed, description="the first worker has stopped")
        cluster.worker("d1", name="second")
        wait_until(lambda: (root / "log").read_text().count("do a0") == 2, description="the second one has begun it")
        cluster.kill("first", signal.SIGCONT)
        report = cluster.result(execution)
        return judge(Evidence(
            case=ZOMBIE, report=report, lines=(root / "log").read_text().splitlines(), before=before,
            after=world(root), events=list(cluster.client.events(execution, follow=False)), faulty=True,
        ))  # fmt: skip
    finally:
        cluster.close()


@pytest.mark.cluster
@pytest.mark.thorough
def test_an_accepted_stale_token_is_found(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The answer of a frozen worker that wakes up ends the action of the one that has taken it over."""
    for number in range(6):
        folder = tmp_path_factory.mktemp("z")
        found = freeze_and_wake(folder, **planted("stale_token_accepted", folder / "bug"))
        if found:
            assert any(problem[0] in "46" for problem in found), (number, found)
            return
    raise AssertionError("it was never found")


@pytest.mark.cluster
@pytest.mark.thorough
def test_a_refused_stale_token_is_not_taken_for_a_bug(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same, without the bug."""
    folder = tmp_path_factory.mktemp("z")
    assert freeze_and_wake(folder, **planted("late_to_notice", folder / "bug")) == []


# -- the judge alone ------------------------------------------------------------------------------------------------

CASE = Case(
    acts=(
        Act("a0", "edit", way=Way("auto")),
        Act("a1"),
        Act("a2", way=Way("lacking")),
        Act("a3"),
        Act("a4", does="breaks", way=Way("started")),
    ),
    mechanism="compensate", verify=True,
)  # fmt: skip
LINES = (
    "do a1 1 d1", "do a2 1 d1", "do a3 1 d1", "do a4 1 d1", "undo a4 1 d1", "undo a3 1 d1", "undo a1 1 d1",
)  # fmt: skip


def told(status: str, error: str | None = None) -> dict[str, Any]:
    return {
        "status": status, "attempts": 1, "degraded": False, "undo": None,
        "error": {"type": error, "message": ""} if error else None,
    }  # fmt: skip


def happened(*names: str) -> list[dict[str, Any]]:
    found = []
    for number, name in enumerate(names, 1):
        event, _, action = name.partition(" ")
        found.append({"seq": number, "event": event, "data": {"action": action} if action else {}})
    return found


def sound(tmp_path: Path) -> Evidence:
    """A run that ended as it should: a4 failed, all was taken back but for a2, which has no way back."""
    lay_out(CASE, tmp_path)
    before = world(tmp_path)
    succeeded = {f"a{n}": told("succeeded") for n in range(4)}
    report = {
        "status": "failed", "success": False, "degraded": False, "error": {"action": "a4"},
        "actions": {**succeeded, "a4": told("failed", "ActionError")},
        "rollback": {
            "status": "partial", "mechanism": "compensate", "remaining": [{"action": "a2"}],
            "compensated": [{"action": name} for name in ("a4", "a3", "a1", "a0")],
        },
    }  # fmt: skip
    events = happened("execution:started", "execution:action:completed a3", "rollback:started", "execution:failed")
    after = {**before, "d1/made-a2": ("0o100644", b"a2\n", 1)}
    return Evidence(case=CASE, report=report, lines=LINES, before=before, after=after, events=events)


@pytest.fixture
def evidence(tmp_path: Path) -> Iterator[Evidence]:
    return sound(tmp_path)


def with_lines(seen: Evidence, *lines: str) -> Evidence:
    return replace(seen, lines=lines)


def with_report(seen: Evidence, **changed: Any) -> Evidence:
    return replace(seen, report={**seen.report, **changed})


def with_rollback(seen: Evidence, **changed: Any) -> Evidence:
    return with_report(seen, rollback={**seen.report["rollback"], **changed})


def with_action(seen: Evidence, name: str, **changed: Any) -> Evidence:
    actions = seen.report["actions"]
    return with_report(seen, actions={**actions, name: {**actions[name], **changed}})


def with_files(seen: Evidence, **files: bytes) -> Evidence:
    changed = {f"d1/{name.replace('_', '-')}": ("0o100640", content, 1) for name, content in files.items()}
    return replace(seen, after={**seen.after, **changed})


def left(*names: str) -> list[dict[str, str]]:
    return [{"action": name} for name in names]


def test_a_sound_run_is_not_blamed(evidence: Evidence) -> None:
    """What is right is not taken for wrong."""
    assert judge(evidence) == []


WRONG = {
    "1, 2: it was accepted": lambda seen: replace(seen, ended=False),
    "1, 2: it was accepted, and is running": lambda seen: with_report(seen, status="running"),
    "2: it ended 40.0 s after": lambda seen: replace(seen, ended_s=40.0),
    "3: do of a1, attempt 1, happened 2 times": lambda seen: with_lines(seen, LINES[0], *LINES),
    "3: a1 has 2 attempts, and 1 were": lambda seen: with_action(seen, "a1", attempts=2),
    "4: a3 ended 2 times": lambda seen: replace(
        seen, events=happened("execution:started", *["execution:action:completed a3"] * 2, "rollback:started")
    ),
    "4: a3 began after it had ended": lambda seen: replace(
        seen, events=happened("execution:started", "execution:action:completed a3", "execution:action:started a3")
    ),
    "5: a1 was neither taken back nor listed": lambda seen: with_lines(seen, *LINES[:-1]),
    "5: a0 was neither taken back nor listed": lambda seen: with_rollback(seen, compensated=left("a4", "a3", "a1")),
    "5: a2 was neither taken back nor listed": lambda seen: with_rollback(seen, remaining=[], status="completed"),
    "5: a1 was taken back 2 times": lambda seen: with_lines(seen, *LINES, "undo a1 2 d1"),
    "5: a1 was taken back before a3": lambda seen: with_lines(seen, *LINES[:5], LINES[6], LINES[5]),
    "5: a2 was taken back, and should not": lambda seen: with_lines(seen, *LINES, "undo a2 1 d1"),
    "5: a1 is listed, and nothing of it is left": lambda seen: with_rollback(seen, remaining=left("a1", "a2")),
    "5: a0 is listed, and nobody changed": lambda seen: with_rollback(seen, remaining=left("a0", "a2")),
    "5: 0 rollbacks began by themselves": lambda seen: replace(seen, events=happened("execution:started")),
    "6: do of a4 came after the rollback": lambda seen: with_lines(seen, *LINES[:3], *LINES[4:], LINES[3]),
    "6: a3 began after the rollback": lambda seen: replace(
        seen, events=happened("execution:started", "rollback:started", "execution:action:started a3")
    ),
    "7: a1 was done 1 times and undone 1 times, and its mark is True": lambda seen: with_files(seen, made_a1=b"a1\n"),
    "7: a compensation lied: True": lambda seen: with_files(seen, made_a1=b"a1\n"),
    "7: d1/shared holds": lambda seen: with_files(seen, shared=b"first\na0\n"),
    "7: mode or time of d1/shared": lambda seen: with_files(seen, shared=b"first\n"),
    "7: a1 is said to have succeeded, and was never done": lambda seen: with_lines(seen, *LINES[1:]),
    "7: a3 failed, and was told to work": lambda seen: with_action(seen, "a3", **told("failed", "ActionError")),
    "7: a3 was skipped for no reason": lambda seen: with_action(seen, "a3", status="skipped"),
    "7: it is said to be completed": lambda seen: with_report(seen, status="completed", success=True),
    "7: the rollback is said to be completed": lambda seen: with_rollback(seen, status="completed"),
    "7: it was cancelled by nobody": lambda seen: with_report(seen, status="cancelled"),
    "7: it was not taken back later": lambda seen: replace(
        with_rollback(seen, compensated=[], status="not_needed"), goes=(Go(retry=False, refused="nothing is left"),)
    ),
    "13: events have gaps": lambda seen: replace(seen, events=seen.events[1:]),
}


@pytest.mark.parametrize("problem", WRONG)
def test_the_judge_sees(evidence: Evidence, problem: str) -> None:
    """Each invariant, broken by hand in the evidence of a sound run."""
    found = judge(WRONG[problem](evidence))
    assert any(one.startswith(problem) for one in found), found

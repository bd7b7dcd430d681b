"""What `executor` offers to others, and what importing it costs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import executor

ROOT = Path(__file__).parents[2]

PUBLIC = [
    "Action",
    "ActionCancelled",
    "ActionError",
    "ActionTimedOut",
    "ActionType",
    "AsyncResolutionClient",
    "Batch",
    "ChangedSince",
    "Classification",
    "Found",
    "FunctionAction",
    "Interrupted",
    "LedgerFull",
    "LedgerTrouble",
    "Model",
    "NotAllowedNow",
    "NotAvailable",
    "Problem",
    "ResolutionClient",
    "RexError",
    "Run",
    "SavedBytes",
    "Snapshot",
    "SnapshotType",
    "Strategy",
    "StrategyInvalid",
    "Unanswered",
    "Undo",
    "UnknownExecution",
    "Unreachable",
    "WayBack",
    "__version__",
    "action",
]

FOREIGN = ["celery", "config", "kombu", "redis", "rollback", "sqlalchemy", "valkey", "workers"]


def in_a_fresh_interpreter(code: str, folder: Path) -> str:
    """What `code` prints, run in `folder` as another service would run it."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_exported_names_are_these() -> None:
    """A name that others use comes and goes by decision, not by accident."""
    assert sorted(executor.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(executor))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_exported_name_can_be_loaded(name: str) -> None:
    """Lazy loading finds each of them where it says."""
    assert getattr(executor, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As with any module."""
    with pytest.raises(AttributeError, match="no attribute 'Executor'"):
        _ = executor.Executor


def test_the_decorator_keeps_its_name_when_its_module_is_loaded(tmp_path: Path) -> None:
    """`executor.action` is a module as well; `from executor import action` always means the decorator."""
    code = "import executor.action; from executor.action import ActionType; from executor import action; print(action)"
    assert in_a_fresh_interpreter(code, tmp_path).startswith("<function action ")


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import executor", [*FOREIGN, "pydantic"]),
        ("from executor import ResolutionClient, AsyncResolutionClient, Strategy, Action", FOREIGN),
        ("from executor import action, ActionType, ActionError", FOREIGN),
    ],
)
def test_importing_loads_nothing_that_others_have_themselves(
    tmp_path: Path, statement: str, unwanted: list[str]
) -> None:
    """A service with its own `config` and `workers` imports us without either side noticing."""
    for name in ("config", "workers", "rollback"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the package of somebody else was imported')")
    printed = in_a_fresh_interpreter(f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))", tmp_path)
    assert sorted(set(json.loads(printed)) & set(unwanted)) == []

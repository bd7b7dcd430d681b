"""The import contracts of pyproject.toml hold, and cover what they are about."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def contracts() -> dict[str, dict[str, object]]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {contract["name"]: contract for contract in document["tool"]["importlinter"]["contracts"]}


def test_the_import_contracts_hold() -> None:
    """Each package and module imports only what stands below it; a new module has to be given its place."""
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [linter, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_client_is_held_light() -> None:
    """What other services import never leads to Celery or to packages whose names they may have themselves."""
    held = contracts()["Light: what other services import"]["source_modules"]
    assert isinstance(held, list)
    assert list((ROOT / "executor").glob("client*")) == [] or "executor.client" in held

"""The release before this one, from the history of this repository: what its processes and ours must do together."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMIT = "a2be16a40c004e2f2a05d00955fdb908f64b6760"
"""The last commit of the release before, which speaks protocol 1."""


def previous_release(folder: Path) -> Path:
    """Its source tree, to be put first on PYTHONPATH; the packages that it needs are those that we need.

    Without the history the test is skipped at home, with what to do, and fails in CI.
    """
    archive = subprocess.run(
        ["git", "-C", ROOT, "archive", COMMIT, "config", "executor", "rollback", "workers"],
        capture_output=True, check=False,
    )  # fmt: skip
    if archive.returncode != 0:
        why = (
            f"commit {COMMIT} is not here ({archive.stderr.decode().strip()}): get the history with "
            "`git fetch --unshallow`, or clone the repository instead of copying it"
        )
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    tree = folder / "previous"
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(tree, filter="data")
    return tree

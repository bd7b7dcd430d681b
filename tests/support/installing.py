"""Installing into environments of their own, as users do; pinned like the checkout."""

import re
import subprocess
import sys
import venv
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: object, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end; what it said, when it succeeded."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def constraints(folder: Path) -> Path:
    """The versions of the lock file, without its hashes: what is built here has none."""
    locked = (ROOT / "requirements-runtime.lock").read_text()
    path = folder / "constraints.txt"
    path.write_text("\n".join(re.findall(r"^[\w.\[\]-]+==[^\s\\]+", locked, re.MULTILINE)) + "\n")
    return path


def build_wheel(source: Path, folder: Path) -> Path:
    """The wheel of a source tree."""
    before = set(folder.glob("*.whl"))
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=source)
    return (set(folder.glob("*.whl")) - before).pop()


def environment(folder: Path, wanted: Iterable[object]) -> Path:
    """A new virtual environment with these installed; its interpreter."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    run(
        sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile",
        "--disable-pip-version-check", "--constraint", constraints(folder), *wanted,
    )  # fmt: skip
    return python


def into_directory(source: Path, folder: Path) -> None:
    """A package alone, without its dependencies, into a directory that goes on PYTHONPATH."""
    wheel = build_wheel(source, folder)
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--disable-pip-version-check",
        "--target", folder / "site", wheel,
    )  # fmt: skip

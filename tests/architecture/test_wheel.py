"""What is handed out: the wheel, and the names that it registers."""

import ast
import configparser
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"config", "executor", "rollback", "workers"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from the checkout without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """No tests, benchmarks or examples land in anybody's site-packages."""
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES


def test_the_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    """Lua scripts and other data are needed as much as the modules."""
    source = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert source - set(wheel.namelist()) == set()


def test_the_wheel_carries_the_licence(wheel: zipfile.ZipFile) -> None:
    """Apache-2.0 asks for its text to travel along."""
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_every_entry_point_leads_to_something(wheel: zipfile.ZipFile) -> None:
    """A registered action type or command whose module is missing would fail only when it is used."""
    text = wheel.read(next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))).decode()
    points = configparser.ConfigParser(delimiters=("=",))
    points.read_string(text)
    targets = [target for section in points.sections() for target in points[section].values()]
    assert "executor.cli:main" in targets
    assert [target for target in targets if not _defined(*target.split(":"))] == []


def test_the_version_stands_in_one_place() -> None:
    """`executor.__version__` is that of the distribution; no module repeats it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    repeated = [
        path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if f'"{version}"' in path.read_text()
    ]
    assert repeated == []


def _defined(module: str, attribute: str) -> bool:
    place = ROOT / module.replace(".", "/")
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if not file.is_file():
        return False
    nodes = list(ast.walk(ast.parse(file.read_text())))
    made = {node.name for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    imported = {
        alias.asname or alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    return attribute in made | imported

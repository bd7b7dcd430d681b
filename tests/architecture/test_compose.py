"""docker-compose.yml, as far as it can be checked without Docker."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    """`deploy/check_compose.py`, which is a script and no part of a package."""
    spec = importlib.util.spec_from_file_location("check_compose", ROOT / "deploy" / "check_compose.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def document() -> Any:
    """The compose file; a new one for each test, to be broken."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_the_compose_file_is_right(checker: ModuleType, document: Any) -> None:
    """Schema, settings and the rules of safety."""
    assert checker.problems_of(document) == []


def test_each_device_has_its_own_store_and_command(document: Any) -> None:
    """Two devices that shared a store would be one."""
    edges = {name: service for name, service in document["services"].items() if name.startswith("edge-")}
    assert len(edges) == 3
    for name, service in edges.items():
        assert service["volumes"] == [f"{name}:/var/lib/rex"]
        assert service["command"][:4] == ["rex", "worker", "--device", name]


@pytest.mark.parametrize(
    ("service", "key", "value", "said"),
    [
        ("valkey", "command", ["valkey-server", "--requirepass", "${REX_PASSWORD}"], "password would stand"),
        ("valkey", "ports", ["6379:6379"], "open to the network"),
        ("coordinator", "read_only", False, "can be written"),
        ("coordinator", "comand", ["rex"], "comand"),
        ("edge-1", "environment", {"REX_BROKER_URI": "redis://h"}, "did you mean REX_BROKER_URL"),
        ("edge-1", "healthcheck", {"intervall": "3s"}, "intervall"),
    ],
)
def test_a_wrong_compose_file_is_refused(
    checker: ModuleType, document: Any, service: str, key: str, value: object, said: str
) -> None:
    """Each rule can fail."""
    document["services"][service][key] = value
    assert said in "\n".join(checker.problems_of(document))


def test_the_lock_files_agree() -> None:
    """What is tested is what runs in the image."""

    def pinned(name: str) -> set[str]:
        lines = (ROOT / name).read_text().splitlines()
        return {line.partition(" ")[0] for line in lines if "==" in line}

    assert pinned("requirements-runtime.lock") <= pinned("requirements.lock")
    assert not any(line.startswith(("pytest", "ruff", "mypy")) for line in pinned("requirements-runtime.lock"))


def test_the_image_is_built_of_what_is_there_and_of_nothing_else() -> None:
    """The build sees only what .dockerignore lets through, and that is exactly what the Dockerfile copies."""
    copies = [line.split()[1:-1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY")]
    sources = {source for copy in copies for source in copy if not copy[0].startswith("--from")}
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sources == let_through
    assert [source for source in sources if not (ROOT / source).exists()] == []

"""Finding action types: one by one, and a broken one harms no other."""

import sys
from pathlib import Path

import pytest
from support.sample_types import Check, Command

from executor.action import WayBack, action
from executor.catalogue import BrokenActionType, InstalledCatalogue, MemoryCatalogue, as_action_type
from executor.ports import ActionCatalogue

PACKAGE = """
from executor import ActionType, action

class Turn(ActionType):
    uses = "lamp.turn"
    def execute(self, run):
        return {}

class Misnamed(Turn):
    uses = "lamp.other"

@action("lamp.blink")
def blink(times: int = 1) -> dict:
    return {"times": times}
"""
POINTS = """
[rex.actions]
lamp.turn = lamps:Turn
lamp.blink = lamps:blink
lamp.misnamed = lamps:Misnamed
lamp.missing = lamps:Nothing
lamp.gone = no_such_module_anywhere:Type
lamp.broken = broken_lamps:Type
lamp.text = lamps:PACKAGE_NAME
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstalledCatalogue:
    """A package with good and bad types, installed as far as the import system can tell."""
    (tmp_path / "lamps.py").write_text(PACKAGE + "PACKAGE_NAME = 'lamps'\n")
    (tmp_path / "broken_lamps.py").write_text("raise SystemError('half an update')\n")
    info = tmp_path / "lamps-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lamps\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield InstalledCatalogue()  # type: ignore[misc]
    sys.modules.pop("lamps", None)


def test_installed_types_are_found_and_loaded_when_asked_for(installed: InstalledCatalogue) -> None:
    """A class and a decorated function are both types; nothing is imported for the names."""
    assert {"lamp.turn", "lamp.blink", "command", "file.edit"} <= set(installed.names())
    assert list(installed.names()) == sorted(installed.names())
    assert "lamps" not in sys.modules
    assert installed.get("lamp.turn").uses == "lamp.turn"
    assert installed.get("lamp.turn") is installed.get("lamp.turn")
    assert set(installed.get("lamp.blink").Parameters.model_fields) == {"times"}


@pytest.mark.parametrize(
    ("uses", "said"),
    [
        ("lamp.missing", "AttributeError"),
        ("lamp.gone", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("lamp.broken", "SystemError: half an update"),
        ("lamp.misnamed", "it calls itself 'lamp.other'"),
        ("lamp.text", "'lamps' is no ActionType"),
    ],
)
def test_a_broken_type_is_named_and_harms_no_other(installed: InstalledCatalogue, uses: str, said: str) -> None:
    """Who uses it hears why; the rest works."""
    with pytest.raises(BrokenActionType) as caught:
        installed.get(uses)
    assert said in str(caught.value)
    assert uses in str(caught.value)
    assert installed.get("lamp.turn").uses == "lamp.turn"


@pytest.mark.parametrize("catalogue", [InstalledCatalogue(), MemoryCatalogue(Command, Check())])
def test_every_catalogue_keeps_the_contract_of_the_port(catalogue: ActionCatalogue) -> None:
    """Sorted names, each with its type; a KeyError for any other."""
    names = list(catalogue.names())
    assert names == sorted(names)
    assert "command" in names
    for name in names:
        assert catalogue.get(name).uses == name
    with pytest.raises(KeyError):
        catalogue.get("no.such")


def test_a_function_becomes_a_type_with_its_way_back() -> None:
    """Its arguments are the parameters."""

    @action("db.promote")
    def promote(host: str) -> dict[str, str]:
        return {"promoted": host}

    assert as_action_type(promote).way_back({}) is WayBack.DECLARED

    @promote.compensate
    def demote(host: str) -> None:
        """Take it back."""

    kind = MemoryCatalogue(promote).get("db.promote")
    assert kind.way_back({}) is WayBack.COMPENSATES
    assert kind.Parameters.model_fields["host"].is_required()
    with pytest.raises(TypeError, match="no ActionType"):
        as_action_type(demote)

"""Reading what workers wrote of themselves, and what stands beside it: strangers write to the ledger too."""

import logging
from collections.abc import Mapping
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from executor.model.device import Announcement, Drained, Health, Owner, Vitals

_log = logging.getLogger("rex.ledger")

M = TypeVar("M", bound=BaseModel)


class Told(Generic[M]):
    """The texts of one hash as models; each text is decoded once, and what is nonsense is left out and logged once."""

    def __init__(self, model: type[M], what: str) -> None:
        """
        Args:
            model: what each value should be.
            what: how a value is called in the log.
        """
        self._model = model
        self._what = what
        self._known: dict[str, tuple[str, M | None]] = {}

    def read(self, raw: Mapping[str, str]) -> dict[str, M]:
        """By field, those that can be understood."""
        known, now = self._known, dict[str, tuple[str, M | None]]()
        for name, text in raw.items():
            before = known.get(name)
            now[name] = before if before is not None and before[0] == text else (text, self._decode(name, text))
        self._known = now  # at once: several threads read one ledger
        return {name: value for name, (_, value) in now.items() if value is not None}

    def _decode(self, name: str, text: str) -> M | None:
        try:
            return self._model.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where, why = ".".join(map(str, first["loc"])) or "the whole", first["msg"]
        except UnicodeEncodeError:
            where, why = "the whole", "it is no UTF-8"
        _log.warning("%s of %.100r is nonsense and does not count: %s: %s", self._what, name, where, why)
        return None


class ToldOfFleet:
    """What is told of workers, by incarnation, and of devices."""

    def __init__(self) -> None:
        self.announced = Told(Announcement, "the announcement")
        self.leaving = Told(Announcement, "the announcement")
        self.vitals = Told(Vitals, "the vitals")
        self.health = Told(Health, "the health")
        self.owners = Told(Owner, "the owner")
        self.drained = Told(Drained, "the drain")


def counters_of(raw: Mapping[str, str]) -> dict[str, int]:
    """Counters by name; what is no number is left out."""
    return {name: int(value) for name, value in raw.items() if value.isdecimal()}

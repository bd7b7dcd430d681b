"""What can be set, and how it is read.

What stands in the environment (``REX_EXECUTION__DEFAULT_TIMEOUT=30s``) goes before what stands in a TOML
file, and that before the defaults. Read with pydantic alone: pydantic-settings ignores variables that it does
not know, does not tell where a value came from, and costs every process another 50 ms of import.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator
from pydantic.fields import FieldInfo

from config import groups
from config.addresses import BROKER_SCHEMES, LEDGER_SCHEMES, check_url, mask_url, scheme_of
from config.sources import SettingsInvalid, Values, Written, files, from_environment, from_file, home_of

__all__ = [
    "Effective",
    "Settings",
    "SettingsInvalid",
    "available",
    "effective",
    "load_settings",
    "mask_url",
    "named_fields",
]


def _state_dir(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_STATE_HOME") or home_of(environ) / ".local" / "state") / "rex"


class Settings(BaseModel):
    """All settings of one process, read once at its start."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    broker_url: str | None = Field(
        None,
        description="Where messages go: Valkey, Redis, Sentinel or RabbitMQ; not set: an embedded server, started for "
        "the purpose.",
    )
    ledger_url: str | None = Field(
        None,
        description="Where the state of executions lives: Valkey, Redis or Sentinel; not set: with the broker, which "
        "RabbitMQ does not allow.",
    )
    state_dir: Path = Field(
        default_factory=lambda: _state_dir(os.environ),
        description="Private directory of this device: saved bytes, the embedded server.",
    )
    execution: groups.ExecutionSettings = groups.ExecutionSettings()
    rollback: groups.RollbackSettings = groups.RollbackSettings()
    monitoring: groups.MonitoringSettings = groups.MonitoringSettings()
    security: groups.SecuritySettings = groups.SecuritySettings()
    distributed: groups.DistributedSettings = groups.DistributedSettings()
    resources: groups.ResourcesSettings = groups.ResourcesSettings()
    user_interaction: groups.UserInteractionSettings = groups.UserInteractionSettings()

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _ledger_with_broker(cls, given: Any) -> Any:
        broker = given.get("broker_url") if isinstance(given, dict) and not given.get("ledger_url") else None
        if isinstance(broker, str) and scheme_of(broker) in LEDGER_SCHEMES:
            return {**given, "ledger_url": broker}
        return given

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.broker_url is None and self.ledger_url is not None:
            raise ValueError("ledger_url is set and broker_url is not: set both, or neither for the embedded server")
        if self.broker_url is not None:
            check_url("broker_url", self.broker_url, BROKER_SCHEMES)
            if self.ledger_url is None:
                raise ValueError(
                    "ledger_url is not set, and RabbitMQ holds messages only: "
                    "set REX_LEDGER_URL to the Valkey or Redis that holds the state of executions"
                )
            check_url("ledger_url", self.ledger_url, LEDGER_SCHEMES)
        if not self.state_dir.is_absolute():
            raise ValueError("state_dir must be an absolute path")
        return self


@dataclass(frozen=True)
class Effective:
    """One setting as it is in force."""

    name: str
    value: Any
    """Typed as in `Settings`; the passwords of addresses are masked."""
    source: str
    """A variable, a file and key, or ``default``."""


def named_fields(model: type[BaseModel] = Settings, above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting by its dotted name, in the order of declaration."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from named_fields(field.annotation, f"{above}{name}.")
        else:
            yield f"{above}{name}", field


def available(field: FieldInfo) -> bool:
    """Whether the setting has an effect already."""
    return not isinstance(field.json_schema_extra, dict) or field.json_schema_extra.get("available") is not False


def load_settings(config_file: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the files and the environment (that of the process, unless another is given).

    Raises:
        SettingsInvalid: unknown, wrong, or not available yet.
    """
    variables = os.environ if environ is None else environ
    fields = dict(named_fields())
    values: Values = {}
    for path in files(config_file, variables):
        values |= from_file(path, fields)
    values |= from_environment(variables, fields)
    refused = [
        f"{written.source}: {name} is not available yet; take it out"
        for name, written in values.items()
        if not available(fields[name])
    ]
    if refused:
        raise SettingsInvalid(refused)
    values.setdefault("state_dir", Written(str(_state_dir(variables)), "default"))
    try:
        settings = Settings.model_validate(_nested(values))
    except ValidationError as error:
        raise SettingsInvalid([_sentence(problem, values) for problem in error.errors()]) from None
    settings._sources.update({name: written.source for name, written in values.items()})
    return settings


def effective(settings: Settings) -> list[Effective]:
    """Every setting in force, with the place that it comes from."""
    shown = []
    for name, _ in named_fields():
        value: Any = settings
        for part in name.split("."):
            value = getattr(value, part)
        masked = mask_url(value) if name.endswith("_url") and value else value
        shown.append(Effective(name, masked, settings._sources.get(name, "default")))
    return shown


def _nested(values: Values) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, written in values.items():
        *above, last = name.split(".")
        place = nested
        for group in above:
            place = place.setdefault(group, {})
        place[last] = written.value
    return nested


def _sentence(problem: Any, values: Values) -> str:
    """A mistake, by the place where it was written; one of several settings together has no single place."""
    name = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    source = values[name].source if name in values else name
    return f"{source}: {message}" if source else message

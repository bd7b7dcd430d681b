"""Which names an expression may use at its place, and of which kind they are."""

import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import BaseModel

Kind = typing.Literal["dyn", "string", "int", "bool", "list", "map", "strings", "labels", "string?", "int?", "bool?"]
"""A CEL type; with ``?`` null is possible too."""

EVERYTHING = 2**62
"""A rank above all: everything has run, or null stands in its place."""


@dataclass(frozen=True)
class Shape:
    """The kind of a value and, where they are declared, its fields."""

    kind: Kind = "dyn"
    fields: "Mapping[str, Shape] | None" = None
    open: bool = True
    """Other fields are possible."""
    each: "Shape | None" = None
    """Of a map whose keys are only known at the run: what stands under each."""

    def below(self, step: str) -> "Shape | None":
        """What stands under `step`, as far as that is declared."""
        return (self.fields or {}).get(step, self.each)


ANY = Shape()
INPUT_KINDS: Mapping[str, Kind] = {
    "string": "string", "integer": "int", "boolean": "bool", "list": "list", "map": "map", "number": "dyn",
}  # fmt: skip
_TEXT = Shape("string")
_ACTION_FIELDS = {
    "status": _TEXT, "result": ANY, "error": ANY, "device": Shape("string?"), "attempts": Shape("int"),
}  # fmt: skip
DEVICE = Shape("map", {"id": _TEXT, "labels": Shape("labels"), "capabilities": Shape("strings")}, open=False)
EXECUTION = Shape("map", {"id": _TEXT, "strategy": _TEXT, "attempt": Shape("int")}, open=False)


@dataclass(frozen=True)
class Scope:
    """What is visible at one place of a strategy."""

    inputs: Mapping[str, Kind] = field(default_factory=dict)
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Every action with its place in the order: index in a sequence, else number of its phase or level."""
    before: int = EVERYTHING
    """Actions of a lower rank have run."""
    results: Mapping[str, Shape] = field(default_factory=dict)
    """Per action, where its type declares what it returns."""
    own: Shape = ANY
    """Of ``result``, where that is visible."""
    extras: frozenset[str] = frozenset()
    """Which of device, error, result, snapshot are visible here."""

    def names(self) -> list[str]:
        return ["inputs", "context", "actions", "execution", *sorted(self.extras)]

    def action(self, name: str) -> Shape:
        """What ``actions.<name>`` is."""
        return Shape("map", {**_ACTION_FIELDS, "result": self.results.get(name, ANY)}, open=False)

    def root(self, name: str) -> Shape:
        """What a name other than ``actions`` is."""
        if name == "inputs":
            return Shape("map", {key: Shape(kind) for key, kind in self.inputs.items()}, open=False)
        return {"device": DEVICE, "execution": EXECUTION, "result": self.own}.get(name, ANY)


def by_device(shape: Shape, devices: Collection[str] | None) -> Shape:
    """The result of a fan-out: under each device that of its type.

    Args:
        shape: of the type's result.
        devices: those that are named; None: they are only known at the run.
    """
    if devices is None:
        return Shape("map", each=shape)
    return Shape("map", dict.fromkeys(devices, shape), open=False)


@cache
def shape_of(model: type[BaseModel] | None) -> Shape:
    """What a model of results declares. A field that may be several things is taken as dynamic."""
    if model is None:
        return ANY
    fields: dict[str, Shape] = {}
    for name, info in model.model_fields.items():
        fields[info.serialization_alias or info.alias or name] = _annotated(info.annotation)
    return Shape("dyn", fields, open=model.model_config.get("extra") == "allow")


def _annotated(annotation: Any) -> Shape:
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        return _annotated(arguments[0])
    if origin in (typing.Union, types.UnionType):
        inner = [_annotated(one) for one in arguments if one is not type(None)]
        nullable: Mapping[str, Kind] = {"string": "string?", "int": "int?", "bool": "bool?"}
        if len(inner) == 1 and len(arguments) == 2:
            return Shape(nullable.get(inner[0].kind, "dyn"), inner[0].fields, inner[0].open)
        return ANY
    if origin is typing.Literal:
        return Shape("string") if all(isinstance(one, str) for one in arguments) else ANY
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return shape_of(annotation)
    plain: Mapping[Any, Kind] = {str: "string", int: "int", bool: "bool", list: "list", dict: "map"}
    return Shape(plain.get(origin or annotation, "dyn"))

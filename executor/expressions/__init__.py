"""CEL, the Common Expression Language: read, checked before the run, evaluated within bounds."""

from executor.expressions.checking import Fault, check, near
from executor.expressions.reading import Reads, reads_of, reads_of_condition
from executor.expressions.running import evaluate, holds, quoted_parameters, render
from executor.expressions.scope import ANY, EVERYTHING, INPUT_KINDS, Kind, Scope, Shape, by_device, shape_of
from executor.expressions.templates import Code, has_code, is_whole, parse_template

__all__ = [
    "ANY",
    "EVERYTHING",
    "INPUT_KINDS",
    "Code",
    "Fault",
    "Kind",
    "Reads",
    "Scope",
    "Shape",
    "by_device",
    "check",
    "evaluate",
    "has_code",
    "holds",
    "is_whole",
    "near",
    "parse_template",
    "quoted_parameters",
    "reads_of",
    "reads_of_condition",
    "render",
    "shape_of",
]

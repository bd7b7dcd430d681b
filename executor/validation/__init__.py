"""Step 1: is this strategy one that can be run? Everything that is wrong with it is said at once."""

from executor.validation.checking import Checked, check, validate
from executor.validation.inputs import check_context, check_inputs, convert_input

__all__ = ["Checked", "check", "check_context", "check_inputs", "convert_input", "validate"]

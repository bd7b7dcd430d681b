"""The one sentence for a store that is full."""

from executor.model.errors import RESOURCE, ActionError


def too_much(where: str, size: int, used: int, limit: int) -> ActionError:
    return ActionError(
        f"cannot save {size} bytes for the way back {where}: {used} of {limit} bytes are used; nothing was "
        "changed. Give the store more room, or shorten the retention time",
        RESOURCE,
    )

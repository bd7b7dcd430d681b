"""Strategy -> plan: which steps, in which messages, in which stages, on which devices.

Pure: the same strategy, settings and fleet give the same plan.
"""

from executor.planning.making import Planned, make_plan

__all__ = ["Planned", "make_plan"]

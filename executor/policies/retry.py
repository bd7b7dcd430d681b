"""When an attempt has failed: is there another, and after which delay?"""

import random

from executor.model.errors import Classification
from executor.model.plan import RetryRule


def worth_retrying(rule: RetryRule, attempt: int, error: Classification) -> bool:
    """Whether attempt number `attempt` (the first is 1) that ended in `error` is followed by another."""
    return attempt < rule.max_attempts and error.retryable and bool({error.type, error.category} & set(rule.on))


def delay_s(rule: RetryRule, attempt: int, chance: random.Random) -> float:
    """Seconds to wait after attempt number `attempt`: exponential, bounded, and spread by the jitter."""
    # bounded before the power: 2.0 ** 1000 overflows
    steps = min(attempt - 1, 64)
    plain = min(rule.delay_s * rule.multiplier**steps, rule.max_delay_s)
    return plain * (1 + rule.jitter * chance.uniform(-1, 1))

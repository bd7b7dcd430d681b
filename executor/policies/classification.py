"""What kind of error an exception is, and so whether another attempt can help. Pure."""

import errno

from executor.model.errors import (
    CONFIGURATION,
    NETWORK,
    PERMANENT,
    RESOURCE,
    TRANSIENT,
    ActionError,
    Classification,
)

_RESOURCE = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
_CONFIGURATION = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENOEXEC,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EROFS,
    errno.EINVAL,
    errno.EXDEV,
    errno.ENOTEMPTY,
}
_NETWORK = {
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.ETIMEDOUT,
    errno.EPIPE,
}
_MISTAKES = (ValueError, TypeError, LookupError, AttributeError, ImportError, NameError, NotImplementedError)
_WRONG = Classification("validation", "high", "fatal", "permanent", retryable=False)

_BY_TYPE: tuple[tuple[tuple[type[BaseException], ...], Classification], ...] = (
    ((MemoryError,), RESOURCE),
    ((ConnectionError, TimeoutError), NETWORK),
    ((SyntaxError, RecursionError), PERMANENT),
    (_MISTAKES, _WRONG),
)


def classify(error: BaseException) -> Classification:
    """The classification of `error`; an `ActionError` carries its own."""
    if isinstance(error, ActionError):
        return error.classification
    if isinstance(error, OSError) and not isinstance(error, (ConnectionError, TimeoutError)):
        return _of_errno(error.errno)
    return next((kind for types, kind in _BY_TYPE if isinstance(error, types)), TRANSIENT)


def _of_errno(number: int | None) -> Classification:
    if number in _RESOURCE:
        return RESOURCE
    if number in _CONFIGURATION:
        return CONFIGURATION
    if number in _NETWORK:
        return NETWORK
    return TRANSIENT

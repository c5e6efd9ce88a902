"""The log: one event a line, never a content, a key, a code or a token.

Devices and accounts are named by the first digits of their ids, enough to follow one through the
log and too few to be of use elsewhere.
"""

import logging
import sys
from typing import Any

import structlog

FORBIDDEN = frozenset({"body", "wrap", "code", "signature", "token", "text", "prekey", "key"})
"""Names that no log call may use: the processor refuses them, so a slip shows in the tests."""


class LeakError(RuntimeError):
    """A log call named something that must not be logged."""


def _refuse_secrets(_: Any, __: str, event: Any) -> Any:
    leaked = FORBIDDEN & event.keys()
    if leaked:
        raise LeakError(f"a log call names {sorted(leaked)}")
    return event


def configure(*, json: bool) -> None:
    """Set the log up for this process: standard error, time in UTC, JSON lines or plain ones."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _refuse_secrets,
            structlog.processors.dict_tracebacks if json else structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer()
            if json
            else structlog.processors.KeyValueRenderer(
                key_order=["timestamp", "level", "event"], drop_missing=True
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def short(identifier: bytes | str) -> str:
    """The first digits of an id, for the log."""
    return identifier[:4].hex() if isinstance(identifier, bytes) else identifier[:8]

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


_json_tracebacks = structlog.processors.ExceptionRenderer(
    # Never the variables of the frames: bodies, codes and signatures are among them.
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


class _FromLibraries(logging.Handler):
    """Passes the standard library's log records on as events of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        # Bytes of a peer that are not UTF-8 are its fault and no news: no traceback for them.
        ours = record.exc_info is not None and not isinstance(record.exc_info[1], UnicodeError)
        structlog.get_logger().log(
            record.levelno,
            "library",
            logger=record.name,
            message=record.getMessage().strip(),
            **({"exc_info": record.exc_info} if ours else {}),
        )


def configure(*, json: bool) -> None:
    """Set the log up for this process: standard error, time in UTC, JSON lines or plain ones."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _refuse_secrets,
            _json_tracebacks if json else structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer()
            if json
            else structlog.processors.KeyValueRenderer(
                key_order=["timestamp", "level", "event"], drop_missing=True
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Asked for at each event: standard error may be another file by then.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # What the libraries say joins the same lines, or a reader of JSON would stumble over it.
    logging.basicConfig(
        handlers=[_FromLibraries(logging.WARNING)], level=logging.WARNING, force=True
    )


def short(identifier: bytes | str) -> str:
    """The first digits of an id, for the log."""
    return identifier[:4].hex() if isinstance(identifier, bytes) else identifier[:8]

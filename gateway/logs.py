"""Where log lines go: JSON on stdout in production, readable colours on a terminal. Nothing is logged at import."""

import logging
import sys
from collections.abc import Callable
from typing import Any, TextIO

import msgspec
import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(level: str = "info", stream: TextIO | None = None) -> structlog.typing.FilteringBoundLogger:
    """Set structlog up once for the process, and route the standard library's few words through it."""
    out = stream or sys.stdout
    threshold = _LEVELS.get(level.lower(), 20)
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")
    processors: list[structlog.typing.Processor]
    factory: Callable[..., Any]
    if out.isatty():
        processors = [stamp, structlog.processors.add_log_level, structlog.dev.ConsoleRenderer()]
        factory = structlog.PrintLoggerFactory(out)
    else:
        processors = [
            stamp,
            structlog.processors.add_log_level,
            structlog.processors.JSONRenderer(serializer=_encode),
        ]
        factory = structlog.BytesLoggerFactory(out.buffer)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    root = logging.getLogger()
    root.handlers = [_Forward(logger)]
    root.setLevel(logging.WARNING)
    return logger


def _encode(event: dict[str, Any], **_: Any) -> bytes:
    return msgspec.json.encode(event)


class _Forward(logging.Handler):
    """A library's warning as one line of ours: its name and the kind of error, never its arguments or a traceback.

    aiohttp and asyncio put raw requests, headers and reprs of transports into their messages.
    """

    def __init__(self, logger: structlog.typing.FilteringBoundLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        fault = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        self._logger.warning("library", library=record.name, severity=record.levelname, fault=fault)

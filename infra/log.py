"""Structured logging: one event a line on stderr, as text for people or as JSON for machines.

``setup(settings.log)`` once at the start of a process, ``get(__name__)`` wherever something is logged:
``log.info("batch written", rows=1200, seconds=0.4)``. Values of keys that look like secrets are masked, secret types always are.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from pathlib import PurePath
from typing import Any

import structlog
from pydantic import SecretStr

from infra.names import valid_text
from infra.sections import LogSettings

MASK = "********"
#: First part of the names of our own loggers.
_OURS = ("infra", "jobs", "sensors", "schemas", "flowlake")
_SECRET_WORDS = ("password", "secret", "token", "access_key", "credential")


def _unset(*_: object) -> structlog.PrintLogger:
    """Where a process logs that has not called :func:`setup`: standard output is for a command's answer, which may be JSON."""
    return structlog.PrintLogger(sys.stderr)


structlog.configure_once(logger_factory=_unset)


def setup(settings: LogSettings | None = None) -> None:
    """Configure logging of this process; the standard library's loggers (kafka, py4j, ...) come out the same way, from warnings on."""
    settings = settings or LogSettings()
    level = logging.getLevelName(settings.level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        mask_secrets,
        escape_names,
    ]
    last: list[Any]
    if settings.format == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    else:
        # Not the one of rich, which is the default: it shows local variables, and these may be passwords.
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    for old in [h for h in root.handlers if getattr(h, "flowlake", False)]:
        root.removeHandler(old)
    handler.flowlake = True  # type: ignore[attr-defined]
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    # Our own loggers pass at the configured level; everybody else's chatter starts at warnings.
    for package in _OURS:
        logging.getLogger(package).setLevel(level)
    # Both log failures that come as exceptions too: kafka-python each attempt to connect (and it warns of consumers without a group),
    # py4j's callbacks the stack trace of a batch that fails, or is interrupted.
    for library in ("kafka", "py4j.clientserver"):
        logging.getLogger(library).setLevel(logging.WARNING if level <= logging.DEBUG else logging.CRITICAL)
    root.addFilter(_no_interruptions)


def _no_interruptions(record: logging.LogRecord) -> bool:
    """Filter: Ctrl-C within a call to the JVM, which py4j logs with its stack trace before it passes it on."""
    return not (record.exc_info and record.exc_info[0] is not None and issubclass(record.exc_info[0], KeyboardInterrupt))


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; ``name`` is the module's ``__name__``, or says which part speaks, such as ``driver`` or ``sink.lake``."""
    ours = name.partition(".")[0] in _OURS
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name if ours else f"flowlake.{name}")
    return logger


def mask_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Processor: hide values that must not be logged."""
    for key, value in event.items():
        if key == "event":
            continue
        if isinstance(value, SecretStr) or (value and any(word in key.lower() for word in _SECRET_WORDS)):
            event[key] = MASK
        elif isinstance(value, dict):
            event[key] = mask_secrets(_logger, _method, dict(value))
    return event


def escape_names(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Processor: make valid UTF-8 of every text and path, whatever file or sensor it names."""
    for key, value in event.items():
        if isinstance(value, str | PurePath):
            event[key] = valid_text(str(value))
    return event

"""What a person needs of a failure that came through Python workers, the JVM and back: the one line that says why."""

from __future__ import annotations

import re
from collections.abc import Iterator

from infra.errors import FlowlakeError, one_line
from jobs.runtime import meanings
from jobs.runtime.meanings import About

#: Exceptions that only carry another one across a border.
_CARRIERS = frozenset({"Py4JJavaError", "Py4JException", "PythonException", "StreamingQueryException", "SparkException", "Exception"})
_TRACEBACK = "Traceback (most recent call last):"
_RAISED = re.compile(r"^([A-Za-z_][\w.]*)(?:: (.*))?$")
_JAVA_CAUSE = re.compile(r"^\s*(?:Caused by: |: )([\w.$]+(?:Exception|Error|Throwable|\w))(?:: (.*))?$")
_STREAM_PREFIX = re.compile(r"^\[STREAM_FAILED\] Query \[id = [^\]]*\] terminated with exception: ")
_JAVA_CLASS = re.compile(r"^(?:[a-z]\w*\.)+(\w+): ")
_SQLSTATE = re.compile(r"\s*SQLSTATE: \w{5};?$")
_MAX = 500


def summary(error: BaseException) -> str:
    """The cause of a failure in one line, without a stack trace.

    A :class:`~infra.errors.FlowlakeError` anywhere in the chain wins (its message stands alone); else the exception that Python raised
    last; else the innermost cause that the JVM names.
    """
    name, message = _cause(error)
    if name not in _known() and (meaning := _meaning(message)):
        return _tidy(f"{meaning.message(message)} ({name}: {message})")
    if name in _known() or not name:
        return _tidy(message)
    return _tidy(f"{name}: {message}" if message else name)


def kind(error: BaseException) -> type[FlowlakeError] | None:
    """Class of the FlowlakeError that caused a failure, wherever it was raised; None when the cause is another exception."""
    for e in _chain(error):
        if isinstance(e, FlowlakeError):
            return type(e)
    name, message = _cause(error)
    meaning = _meaning(message)
    return _known().get(name) or (meaning.error if meaning else None)


def _meaning(message: str) -> meanings.Meaning | None:
    """What a library's message means, when it is one of those that do not say it themselves."""
    return meanings.find(message, About.BROKER, About.SYSTEM)


def _cause(error: BaseException) -> tuple[str, str]:
    """(short class name, message)."""
    chain = list(_chain(error))
    for e in chain:
        if isinstance(e, FlowlakeError):
            return type(e).__name__, str(e)
    texts = [_text(e) for e in chain]
    raised = [found for text in texts for found in _python(text)]
    ours = [found for found in raised if found[0] in _known()]
    if ours:
        return ours[-1]
    others = [found for found in raised if found[0] not in _CARRIERS]
    if others:
        return others[-1]
    java = [found for text in texts for found in _java(text)]
    if java:
        return next((found for found in reversed(java) if found[1]), java[-1])
    first = chain[-1] if type(error).__module__.startswith("pyspark") else error
    name = "" if type(first).__module__.startswith("pyspark") else type(first).__name__
    return name, _JAVA_CLASS.sub(r"\1: ", _STREAM_PREFIX.sub("", str(first).strip()).split("\n", 1)[0])


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from, outermost first."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or getattr(at, "_cause", None)


def _text(error: BaseException) -> str:
    """Everything an exception says, JVM stack trace included where it holds one."""
    said = str(error)
    trace = getattr(error, "_stackTrace", None)
    return f"{said}\n{trace}" if isinstance(trace, str) else said


def _python(text: str) -> Iterator[tuple[str, str]]:
    """Exceptions of the Python tracebacks in a text, in order: (short class name, first line of the message)."""
    inside = False
    for line in text.splitlines():
        if _TRACEBACK in line:
            inside = True
        elif inside and line and not line[0].isspace():
            inside = False
            if match := _RAISED.match(line):
                yield match[1].rpartition(".")[2], match[2] or ""


def _java(text: str) -> Iterator[tuple[str, str]]:
    """Exceptions named by a JVM stack trace, outermost first."""
    for line in text.splitlines():
        if match := _JAVA_CAUSE.match(line):
            yield match[1].rpartition(".")[2], match[2] or ""


def _known() -> dict[str, type[FlowlakeError]]:
    """Our error classes by name, in this process."""
    found: dict[str, type[FlowlakeError]] = {}
    todo: list[type[FlowlakeError]] = [FlowlakeError]
    while todo:
        cls = todo.pop()
        found[cls.__name__] = cls
        todo += cls.__subclasses__()
    return found


def _tidy(line: str) -> str:
    return one_line(_SQLSTATE.sub("", line.rstrip()), _MAX)

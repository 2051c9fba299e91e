"""Which folders the platform can work in: the one table of what is refused, where and why.

Blanks, letters of any script, quotes and most punctuation work everywhere. What some part of the platform would read in another way than
the file system does is refused here, by name and before anything is written; found by experiment with the pinned versions.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from infra.errors import ConfigError, without_password

if TYPE_CHECKING:
    from infra.config import Settings


@dataclass(frozen=True)
class Rule:
    """What may not stand in a path, and why."""

    found: re.Pattern[str]
    why: str


CONTROL = Rule(re.compile(r"[\x00-\x1f\x7f]"), "a control character breaks lists, logs and scripts")
VARIABLE = Rule(re.compile(r"\$\{"), "Spark and Log4j read a variable there")
ESCAPE = Rule(re.compile(r"%[0-9A-Fa-f]{2}"), "delta-rs and MLflow read an escaped character there")
BACKSLASH = Rule(re.compile(r"\\"), "delta-rs reads a slash there")
BACKTICK = Rule(re.compile("`"), "it ends a name in Delta's SQL")
COLON = Rule(re.compile(":"), "a colon ends an entry of PATH, PYTHONPATH and of Java's class path")
SHELL = Rule(re.compile(r'["$`\\]'), "the scripts of a Python environment are started by a shell, which reads it")
LIST = Rule(re.compile(r"[,:#?*\[\]{}\\]"), "spark-submit reads lists, patterns and names for copies there")

EVERYWHERE = (CONTROL, VARIABLE)
LAKE = (ESCAPE, BACKSLASH, BACKTICK)
#: Bytes. PostgreSQL takes 1023 for a file's name (MAXPGPATH), its own below the folder included.
LONGEST = 900

#: A scheme with one slash or none; ``file:`` is read otherwise.
_ONE_SLASH = re.compile(r"(s3[an]?|gs|wasbs?|abfss?|hdfs|https?):(?!//)", re.IGNORECASE)
_NO_BUCKET = re.compile(r"s3a:///|s3a://$")
_SQLITE = re.compile(r"sqlite(\+pysqlite)?:///")
#: Escapes that nobody needs to write, and so were meant as they stand: a blank or an umlaut may be written as it is.
_UNEXPECTED = re.compile(r"%(?!25|3F|23)[0-9A-F]{2}", re.IGNORECASE)


def check(path: Path, origin: str, rules: Iterable[Rule] = (), mend: str = "") -> None:
    """Refuse a folder (or file) that some part of the platform cannot work in.

    Parameters
    ----------
    path
        Absolute.
    origin
        Where it comes from: a setting or an environment variable.
    rules
        What is refused beyond :data:`EVERYWHERE`.
    mend
        How to name another one; the default is made from ``origin``.

    Raises
    ------
    ConfigError
        One line with origin, path and what in it is refused.
    """
    text = str(path)
    if problem := _problem(text, rules):
        raise ConfigError(
            f"{origin}: {text!r} cannot be used: {problem}", mend or f"name another folder: {variable(origin)}=/another/folder"
        )


def _problem(text: str, rules: Iterable[Rule]) -> str:
    """Why a path cannot be used; empty when it can."""
    if not text.isascii() and (encoding := sys.getfilesystemencoding()) != "utf-8":
        return f"file names are read as {encoding} here; set LC_ALL=C.UTF-8 or PYTHONUTF8=1"
    if not is_text(text):
        return "it is not UTF-8"
    for rule in (*EVERYWHERE, *rules):
        if match := rule.found.search(text):
            return f"{match[0]!r} in it: {rule.why}"
    length = len(text.encode())
    return f"{length} bytes are too long, {LONGEST} are the most" if length > LONGEST else ""


def check_settings(settings: Settings, *, lake: bool = True) -> None:
    """Check every local folder of the settings; with ``lake`` that of the lake too. What is on another machine is not looked at.

    Raises
    ------
    ConfigError
        See :func:`check`.
    """
    check_var(settings)
    if "://" not in settings.paths.checkpoints:
        check(settings.path(settings.paths.checkpoints), "paths.checkpoints")
    check_registry(settings)
    if lake:
        check_lake(settings)


def check_var(settings: Settings) -> None:
    """Check the folder of the local stack; see :func:`check`."""
    check(
        settings.path(settings.paths.var),
        "paths.var",
        mend=f"name another folder: {variable('paths.var')}=/another/folder, or FLOWLAKE_HOME",
    )


def check_lake(settings: Settings) -> None:
    """Check the lake's folder; see :func:`check`."""
    if "://" not in settings.lake.path:
        check(settings.path(settings.lake.path), "lake.path", LAKE)


def check_registry(settings: Settings) -> None:
    """Check a local registry's file and folder; see :func:`check`."""
    if file := registry_file(settings):
        check(
            file, "scoring.tracking_uri", mend=f"name another file: {variable('scoring.tracking_uri')}=sqlite:////another/folder/mlflow.db"
        )
        check(settings.path(settings.scoring.artifact_root), "scoring.artifact_root")


def variable(origin: str) -> str:
    """The environment variable of a setting (``lake.path`` -> ``FLOWLAKE_LAKE__PATH``); anything else as it is."""
    return f"FLOWLAKE_{origin.upper().replace('.', '__')}" if "." in origin else origin


def is_text(text: str) -> bool:
    """Whether a name is UTF-8: Java, SQL and JSON know no other."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def local(text: str) -> str:
    """A configured folder in one spelling: a ``file:`` URI as the path it means, ``~/`` as the home folder; other URIs as they are.

    Raises
    ------
    ValueError
        Empty, not UTF-8, a control character, or a ``file:`` URI of another host or with ``?`` or ``#`` in it.
    """
    if not text.strip():
        raise ValueError("empty: name a folder")
    if text.startswith("file:"):
        uri = urlsplit(text)
        if uri.query or uri.fragment or uri.netloc not in ("", "localhost"):
            raise ValueError(f"{text!r} is no file of this machine; name the path itself, or write '?' as %3F and '#' as %23")
        text = unquote(uri.path, errors="strict")
    elif text == "~" or text.startswith("~/"):
        text = os.path.expanduser(text)
    if match := CONTROL.found.search(text):
        raise ValueError(f"{match[0]!r} in {text!r}: {CONTROL.why}")
    return text


def lake(path: str) -> str:
    """A configured place of a lake table in one spelling: Spark, delta-rs and we compare it as text.

    Raises
    ------
    ValueError
        See :func:`local`; or a scheme with one slash, or no bucket.
    """
    if match := _ONE_SLASH.match(path):
        raise ValueError(f"{path!r} would be a folder of this machine: a bucket is written {match[1]}://bucket/prefix")
    path = local(path)
    if path.startswith("s3://"):
        path = "s3a://" + path.removeprefix("s3://")
    if _NO_BUCKET.match(path):
        raise ValueError(f"{path!r} names no bucket: s3a://bucket/prefix")
    return path.rstrip("/") or path


def server(url: str) -> str:
    """A configured address of an HTTP server, checked.

    Raises
    ------
    ValueError
        It is no ``http://`` or ``https://`` with a host, names a path, or holds a password.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        port = 0
    if parts.scheme not in ("http", "https") or not parts.hostname or not port or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"{without_password(url)!r} is no address of a server; write http://host:port or https://host:port")
    if parts.username or parts.password:
        raise ValueError("user and password are settings of their own, and no part of the address")
    return url.rstrip("/")


def endpoint(url: str) -> str:
    """A configured address that something is sent to, checked; unlike :func:`server` with a path.

    Raises
    ------
    ValueError
        It is no ``http://`` or ``https://`` with a host, or holds a password.
    """
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not parts.fragment
    except ValueError:
        whole = False
    if not whole or any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError(f"{without_password(url)!r} is no address to send to; write http://host/path or https://host/path")
    if parts.username or parts.password:
        raise ValueError("user and password are no part of the address: what is sent is signed")
    return url


def registry(uri: str) -> str:
    """A configured registry URI, checked: SQLAlchemy decodes the file's name in it, which a person seldom expects.

    Raises
    ------
    ValueError
        It is empty; of an SQLite file: ``#``, ``?`` that begins no options, or ``%`` that is not written as ``%25``.
    """
    if not uri.strip():  # MLflow would take what its own variable names, or a file in the current folder
        raise ValueError("empty: name a file, such as sqlite:///var/mlflow/mlflow.db, or a server")
    if match := _SQLITE.match(uri):
        name, _, options = uri[match.end() :].partition("?")
        local(name)
        odd = _UNEXPECTED.search(name) or re.search("#", uri) or (options and re.search("[^?]*/", options))
        if odd:
            raise ValueError(f"{odd[0]!r} in {uri!r}: in this URI '%' is written %25, '?' %3F and '#' %23, other characters as they are")
    return uri


def registry_file(settings: Settings) -> Path | None:
    """The file of a registry in SQLite, None when a server is named."""
    uri = settings.scoring.tracking_uri
    match = _SQLITE.match(uri)
    return settings.path(unquote(uri[match.end() :].partition("?")[0])) if match else None


def registry_uri(settings: Settings) -> str:
    """The registry as SQLAlchemy and MLflow read it; that of a file is absolute.

    With the driver's name: MLflow makes the parent folder of what follows a bare ``sqlite:///``, without decoding it.
    """
    file, uri = registry_file(settings), settings.scoring.tracking_uri
    _, mark, options = uri.partition("?")
    return f"sqlite+pysqlite:///{quote(str(file))}{mark}{options}" if file else uri

"""What the failure texts of libraries and servers mean: one table, for whoever has to wait, stop or tell a person.

Libraries raise a few classes for a hundred causes; what happened stands in the text, or in a code. A row says how to know a cause, whether
it passes by itself, and how to say it. Rows of one subject are asked in their order: the more telling stand first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from infra.errors import BrokerError, FlowlakeError, StoreError, one_line


class About(Enum):
    """Who speaks, and so whose words they are."""

    BROKER = "Kafka's clients, in Python and in the JVM"
    SYSTEM = "the operating system"
    OBJECT_STORE = "S3A, delta-rs or boto3, of a bucket"
    LAKE = "Spark, Delta or Hadoop, while a table is written"
    LOGIN = "PostgreSQL, of a connection it refuses (libpq gives no SQLSTATE then)"
    SQLSTATE = "PostgreSQL, by the code of an error"


class Remedy(Enum):
    """What is right to do."""

    WAIT = "it passes by itself: try again"
    STOP = "a person has to mend it: stop, and say how"
    REFUSE = "it is a matter of the data: put the message aside and go on"


@dataclass(frozen=True)
class Meaning:
    """One row: how a cause is known, and what to make of it."""

    about: About
    pattern: re.Pattern[str]
    remedy: Remedy
    template: str = "{line}"
    hint: str = ""
    error: type[FlowlakeError] = StoreError

    @property
    def passing(self) -> bool:
        """Whether waiting is right."""
        return self.remedy is Remedy.WAIT

    def message(self, text: str, **facts: str) -> str:
        """The cause in one line; ``facts`` fill in the template, and ``line`` is the line of ``text`` that says it."""
        line = next((line for line in text.splitlines() if self.pattern.search(line)), text)
        return self.template.format(line=one_line(line), **facts)


def find(text: str, *about: About) -> Meaning | None:
    """What a failure means, by all that is said of it.

    Parameters
    ----------
    text
        Message and stack trace; for :attr:`About.SQLSTATE` the code.
    about
        Whose words these may be.

    Returns
    -------
    Meaning or None
        The first row of these subjects that knows the text; None when none does.
    """
    return next((row for row in TABLE if row.about in about and row.pattern.search(text)), None)


def why_no_answer(text: str) -> str:
    """`` (connection refused)``: why an object store does not answer, where the text says so; else empty."""
    found = _WHY.search(text)
    return f" ({_WHY_SAID.get(found[0], found[0])})" if found else ""


def _any(*words: str) -> re.Pattern[str]:
    """Any of these words as they stand."""
    return re.compile("|".join(re.escape(word) for word in words))


def _code(*prefixes: str) -> re.Pattern[str]:
    return re.compile(f"^(?:{'|'.join(prefixes)})")


_KEYS = "set FLOWLAKE_LAKE__S3_ACCESS_KEY and FLOWLAKE_LAKE__S3_SECRET_KEY (environment only)"
_PASSWORDS = "set FLOWLAKE_HOT__PASSWORD / FLOWLAKE_ALERTS__PASSWORD"
_REFUSES = "{where} refuses user {user!r}: {said}"

_WHY = re.compile(r"Connection refused|dns error|Connection reset|UnknownHost|timed out|SlowDown|Service Unavailable|Status Code: 50\d")
_WHY_SAID = {
    "UnknownHost": "its name cannot be resolved",
    "dns error": "its name cannot be resolved",
    "Connection refused": "connection refused",
}

_BROKER = (
    Meaning(
        About.BROKER,
        re.compile(
            r"waiting for a node assignment|Failed to (construct|create new) Kafka|NoBrokersAvailable|Topic \S+ not present in metadata"
        ),
        Remedy.WAIT,
        "the Kafka broker does not answer",
        error=BrokerError,
    ),
    Meaning(
        About.BROKER,
        re.compile(r"No resolvable bootstrap urls"),
        Remedy.WAIT,
        "no name in kafka.bootstrap_servers can be resolved",
        error=BrokerError,
    ),
)

_SYSTEM = (Meaning(About.SYSTEM, re.compile(r"No space left on device"), Remedy.WAIT, "no space left on device"),)

#: Error codes of S3 (Amazon S3 API reference, "Error responses"), and what the SDK and S3A make of them. A HEAD request has no body to
#: carry a code, so wrong keys and missing rights look the same there: 403, "Forbidden".
_OBJECT_STORE = (
    Meaning(  # without any keys the libraries ask Amazon's metadata service at 169.254.169.254
        About.OBJECT_STORE,
        re.compile(r"NoAuthWithAWSException|NoCredentialsError|Unable to load credentials|No AWS Credentials|//169\.254\.169\.254/"),
        Remedy.STOP,
        "lake {path}: no keys for {where}",
        _KEYS,
    ),
    Meaning(
        About.OBJECT_STORE,
        re.compile(r"NoSuchBucket|UnknownStoreException|bucket does not exist|list request.*404 Not Found", re.DOTALL),
        Remedy.STOP,
        "lake {path}: there is no bucket {bucket!r} at {where}",
        "make the bucket, or set lake.path",
    ),
    Meaning(
        About.OBJECT_STORE,
        re.compile(r"InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|Status Code: 40[13]|Forbidden"),
        Remedy.STOP,
        "lake {path}: {where} refuses access to bucket {bucket!r}: wrong keys, or no right to use it",
        f"{_KEYS}, or let their owner list, read, write and delete in the bucket",
    ),
    Meaning(
        About.OBJECT_STORE,
        re.compile(
            r"UnknownHostException|ConnectException|Connect(?:ion)? (?:to .{1,300}? failed|refused|reset|timed out)"
            r"|SocketTimeout|NoHttpResponse|client error \(Connect\)|operation timed out|SdkClientException"
            r"|EndpointConnectionError|ConnectTimeoutError|ReadTimeoutError|ConnectionClosedError"
            r"|AWSServiceIOException|SlowDown|Status Code: 50\d|AWSStatus500Exception"
        ),
        Remedy.WAIT,
        "lake {path}: {where} does not answer{why}",
        "start it, or set lake.s3_endpoint",
    ),
)

_LAKE = (
    Meaning(
        About.LAKE,
        _any(
            "Permission denied",
            "AccessControlException",
            "AccessDenied",
            "Access Denied",
            "Read-only file system",
            "Not a directory",
            "ParentNotDirectory",
            "Mkdirs failed",
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "NoSuchBucket",
        ),
        Remedy.STOP,
        "lake {path} cannot be written: {line}",
        "check the rights on the folder or bucket, or set lake.path",
    ),
    Meaning(
        About.LAKE,
        _any(
            "No space left",
            "Disk quota",
            "Connection refused",
            "Connection reset",
            "Connect to",
            "timed out",
            "Timeout",
            "UnknownHost",
            "SdkClientException",
            "Service Unavailable",
            "SlowDown",
            "Status Code: 50",
            "ConcurrentAppendException",
            "ConcurrentModification",
            "DELTA_CONCURRENT",
            "ProtocolChangedException",
            "KafkaError",
            "NoBrokersAvailable",
            "Input/output error",
        ),
        Remedy.WAIT,
        "lake {path}: {line}",
        "check lake.path and lake.s3_endpoint",
    ),
)

_LOGIN = tuple(
    Meaning(About.LOGIN, _any(words), Remedy.STOP, _REFUSES, hint)
    for words, hint in (
        ("authentication failed", f"{_PASSWORDS}, or the user in the configuration"),
        ("no password supplied", _PASSWORDS),
        ("does not exist", "create it, or name another in the configuration (hot.database, alerts.database, .user)"),
        ("no pg_hba.conf entry", "let this host in (pg_hba.conf), or connect from another"),
        ("permission denied for database", "GRANT CONNECT ON DATABASE to this user"),
        ("not permitted to log in", "ALTER ROLE ... LOGIN, or use another user"),
    )
)

#: Codes and their classes: PostgreSQL manual, appendix A.
_SQLSTATE = (
    # Connection, transaction rollback, resources (disk, memory, connections), lock not available, operator intervention (shutdown,
    # starting up), system error, read-only (a standby being promoted).
    Meaning(About.SQLSTATE, _code("08", "40", "53", "55P03", "57", "58", "25006"), Remedy.WAIT),
    Meaning(About.SQLSTATE, _code("22", "23"), Remedy.REFUSE),
    Meaning(About.SQLSTATE, _code("42501"), Remedy.STOP, hint="GRANT the rights on the tables to this user"),
    Meaning(
        About.SQLSTATE,
        _code("42P01", "42703"),
        Remedy.STOP,
        hint="the tables were dropped or changed by hand: flowlake db migrate puts back what is missing, and so does the next start",
    ),
)

#: Every row, by subject.
TABLE: tuple[Meaning, ...] = (*_BROKER, *_SYSTEM, *_OBJECT_STORE, *_LAKE, *_LOGIN, *_SQLSTATE)

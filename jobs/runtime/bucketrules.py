"""Life cycle of the archive's objects in its bucket: to cold storage after a year, gone after seven.

A bucket has one list of rules, which is written as a whole: those that are not ours are written back as they were. Ours begin with
:data:`OURS` and are about the prefix of ``archive.path`` alone - an object of a Delta table must never expire by its age. The two rules
stand by themselves, so that a server that knows no cold storage still takes the other. (Amazon S3 User Guide, "Managing the lifecycle of
objects".)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from infra.config import Settings
from infra.errors import ConfigError, StoreError, one_line
from jobs.runtime import lake, s3

#: What the ids of our rules begin with.
OURS = "flowlake-archive-"
_COLD = f"{OURS}glacier"
_GONE = f"{OURS}expiry"


@dataclass(frozen=True)
class Part:
    """One of our rules, and what became of it: ``applied``, or why not."""

    rule: dict[str, Any]
    applied: bool
    why: str = ""


def place(settings: Settings) -> tuple[str, str]:
    """Bucket of the archive, and the prefix of its objects (ends in ``/``).

    Raises
    ------
    ConfigError
        The archive is in no bucket or in the root of one, or the checkpoints or a table of the lake lie below it: they would expire.
    """
    path = settings.archive.path
    where = urlsplit(path)
    prefix = where.path.strip("/")
    if where.scheme != "s3a":
        raise ConfigError(f"archive.path {path!r} is in no bucket", "rules are for an archive on S3: archive.path: s3a://bucket/archive")
    if not prefix:
        raise ConfigError(f"archive.path {path!r} is a whole bucket: all of it would expire", f"name a prefix: {path}/archive")
    for what, other in _others(settings):
        if f"{other.rstrip('/')}/".startswith(f"{path}/"):
            raise ConfigError(f"{what} ({other}) lies below archive.path {path!r}, and would expire with it", "name another archive.path")
    return where.netloc, f"{prefix}/"


def _others(settings: Settings) -> Iterator[tuple[str, str]]:
    yield "paths.checkpoints", settings.paths.checkpoints
    yield "lake.path", settings.lake.path
    for name in [*(record.name for record in settings.catalogue.records if record.lake), *lake.SIDE_TABLES]:
        if name in settings.lake.tables:
            yield f"lake.tables: {name}", settings.lake.tables[name]


def wanted(prefix: str, cold_days: int, gone_days: int) -> list[dict[str, Any]]:
    """Our rules, as the S3 API has them.

    Raises
    ------
    ConfigError
        Objects would be gone before they are cold.
    """
    if gone_days <= cold_days:
        raise ConfigError(f"--expire-days {gone_days} is no more than --glacier-days {cold_days}", "objects expire after they became cold")
    common = {"Status": "Enabled", "Filter": {"Prefix": prefix}}
    return [
        {"ID": _COLD, **common, "Transitions": [{"Days": cold_days, "StorageClass": "GLACIER"}]},
        {"ID": _GONE, **common, "Expiration": {"Days": gone_days}},
    ]


def current(settings: Settings) -> list[dict[str, Any]]:
    """Every rule of the archive's bucket.

    Raises
    ------
    StoreError
        The store does not answer, or refuses.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _ = place(settings)
    try:
        rules: list[dict[str, Any]] = s3.client(settings.lake).get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        return rules
    except ClientError as e:
        if e.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
            return []
        raise _problem(e, settings) from e
    except BotoCoreError as e:
        raise _problem(e, settings) from e


def foreign(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rules that are not ours."""
    return [rule for rule in rules if not rule.get("ID", "").startswith(OURS)]


def apply(settings: Settings, ours: list[dict[str, Any]]) -> list[Part]:
    """Put our rules in the place of ours of before; where the server refuses one, the other alone. What it says it kept is read back.

    Raises
    ------
    StoreError
        The store does not answer, or refuses access.
    """
    others = foreign(current(settings))
    refused: dict[str, str] = {}
    kept = list(ours)
    if why := _put(settings, [*others, *kept]):
        # Which of them it was, each by itself tells; the others' are in every attempt, so that none is without them for a moment.
        refused = {rule["ID"]: said for rule in ours if (said := _put(settings, [*others, rule]))}
        kept = [rule for rule in ours if rule["ID"] not in refused]
        if len(kept) == len(ours):
            refused, kept = {rule["ID"]: why for rule in ours[:-1]}, ours[-1:]
        if kept and (said := _put(settings, [*others, *kept])):
            refused |= {rule["ID"]: said for rule in kept}
    there = {rule.get("ID"): rule for rule in current(settings)}
    return [_part(rule, refused.get(rule["ID"], ""), there.get(rule["ID"])) for rule in ours]


def _part(rule: dict[str, Any], refused: str, there: dict[str, Any] | None) -> Part:
    if refused:
        return Part(rule, False, refused)
    action = "Transitions" if "Transitions" in rule else "Expiration"
    if there is None or action not in there:
        return Part(rule, False, "the server took it and does not list it: it has no such rules")
    return Part(rule, True)


def _put(settings: Settings, rules: list[dict[str, Any]]) -> str:
    """Write the bucket's rules; what the server has against them, or nothing."""
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _ = place(settings)
    try:
        s3.client(settings.lake).put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    except ClientError as e:
        if e.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 405, 501):
            return one_line(f"{e.response['Error']['Code']}: {e.response['Error'].get('Message', '')}")
        raise _problem(e, settings) from e
    except BotoCoreError as e:
        raise _problem(e, settings) from e
    return ""


def _problem(error: Exception, settings: Settings) -> StoreError:
    found = s3.trouble(f"{type(error).__name__}: {error}", settings.archive.path, settings.lake)
    if found:
        return StoreError(found.message, found.hint)
    return StoreError(f"rules of {settings.archive.path}: {one_line(error)}", "check archive.path and lake.s3_endpoint")

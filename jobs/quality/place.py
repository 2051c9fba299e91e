"""Where the quarantine lies: a Delta table beside the lake."""

from __future__ import annotations

from infra.config import Settings
from infra.errors import ConfigError
from jobs.runtime import s3

TABLE = "quarantine"


def problem(settings: Settings) -> str:
    """Why there can be no quarantine; empty where there can."""
    path = settings.lake.path
    if "://" in path and not path.startswith("s3a://"):
        return f"lake.path {path!r} is of a kind that only Spark can write"
    above, _, own = path.rpartition("/")
    if (not own or not above or above.endswith(("/", ":"))) and ("://" in path or path.startswith("/")):
        return f"lake.path {path!r} is a root: there is no place beside it"
    return ""


def location(settings: Settings) -> str:
    """Place of the table, as delta-rs spells it.

    Raises
    ------
    ConfigError
        There can be none.
    """
    if why := problem(settings):
        raise ConfigError(f"no place for the table {TABLE}: {why}", "set lake.path to a folder below, such as s3a://bucket/lake/flows")
    above, _, _ = settings.lake.path.rpartition("/")
    path = f"{above}/{TABLE}" if above else TABLE
    return s3.uri(path) if "://" in path else str(settings.path(path))

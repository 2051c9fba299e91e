"""Which versions the registry names champion and challenger now: two short questions, asked again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from infra.config import Settings
from jobs.scoring import tracking
from schemas.records import RecordType

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Tags of a version without which it would score otherwise.
_TAGS = ("sha256", "feature_version", "threshold", "columns")


class AliasHolder(NamedTuple):
    """A version, and what tells it from another of the same number in a registry that was made anew."""

    version: str
    identity: tuple[str, ...]


class Heads(NamedTuple):
    """Versions by their aliases; None: none has it."""

    champion: AliasHolder | None
    challenger: AliasHolder | None


def heads(settings: Settings, record: RecordType) -> Heads:
    """Look them up.

    Raises
    ------
    ModelError
        The registry cannot be reached, or there is none.
    """
    rules = settings.scoring
    with tracking.opened(settings, create=False) as client:
        found = [_head(client, settings, record, alias) for alias in (rules.alias, rules.challenger_alias)]
    return Heads(*found)


def _head(client: MlflowClient, settings: Settings, record: RecordType, alias: str) -> AliasHolder | None:
    try:
        version = tracking.by_alias(client, settings, record, alias)
    except tracking.ModelMissingError:
        return None
    return AliasHolder(str(version.version), (str(version.version), str(version.run_id), *(str(version.tags.get(tag)) for tag in _TAGS)))

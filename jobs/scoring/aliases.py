"""Which version is champion and which is challenger: changed by one at a time, each change kept.

A change names what it was decided upon: the version that had the alias then. Where another has it by now, nothing is changed. MLflow
knows no such condition, so that who changes an alias holds a lock: of a registry in a file, a lock of the operating system; of a server,
tags of the registered model (:mod:`jobs.scoring.turns`). Each change is kept as a tag of the registered model, ``promotion.NNNNNN``,
before it is made, and once more when it is: what happened last is known even if the program ends in between.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from infra import paths
from infra.config import Settings
from infra.console.options import me
from infra.errors import ModelError
from jobs.scoring import tracking, turns
from jobs.scoring.names import model_name
from schemas.records import RecordType

if TYPE_CHECKING:
    from mlflow import MlflowClient

_CHANGE = "promotion."


class PromotionConflictError(ModelError):
    """Another change of the alias came first."""


@dataclass(frozen=True)
class AliasChange:
    """A change of an alias.

    Attributes
    ----------
    action
        ``promote``, ``rollback`` or ``withdraw``.
    alias
        Such as ``champion``.
    before, after
        Versions that had it before, and have it since; None: none.
    who, why, at
        Who did it, for which reason, and when (ISO 8601, UTC).
    forced
        Whether gates were overruled.
    gates
        Name -> verdict, as they were then.
    done
        Whether it is in force; False: the program ended before that was known.
    """

    action: str
    alias: str
    before: str | None
    after: str | None
    who: str = field(default_factory=me)
    why: str = ""
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    forced: bool = False
    gates: Mapping[str, str] = field(default_factory=dict)
    done: bool = True


def holder(client: MlflowClient, settings: Settings, record: RecordType, alias: str) -> str | None:
    """The version that has an alias; None: none has."""
    try:
        return str(tracking.by_alias(client, settings, record, alias).version)
    except tracking.ModelMissingError:
        return None


def version_of(settings: Settings, record: RecordType, alias: str) -> str | None:
    """The version that has an alias now: cheap, for who looks whether it has changed. None: none has it, or there is no registry yet.

    Raises
    ------
    ModelError
        The registry cannot be reached.
    """
    try:
        with tracking.opened(settings, create=False) as client:
            return holder(client, settings, record, alias)
    except tracking.ModelMissingError:
        return None


def change(
    client: MlflowClient, settings: Settings, record: RecordType, wanted: AliasChange, still: Callable[[], None] = lambda: None
) -> None:
    """Give an alias to ``wanted.after``, or take it away, where ``wanted.before`` still has it.

    ``still`` is called while nobody else changes anything, and raises where what was decided before does not hold any more.

    Raises
    ------
    PromotionConflictError
        Another version has the alias by now, or whoever else is changing it does not come to an end.
    """
    name = model_name(settings, record)
    with alone(client, settings, name) as still_alone:
        still()
        now = holder(client, settings, record, wanted.alias)
        if now != wanted.before:
            raise PromotionConflictError(
                f"model {name}: {wanted.alias} is version {now or 'none'} by now, it was {wanted.before or 'none'}",
                "somebody else has just changed it: flowlake models list shows what is; decide again",
            )
        if now == wanted.after:
            return
        place = f"{_CHANGE}{_last(client, name) + 1:06}"
        client.set_registered_model_tag(name, place, json.dumps(asdict(replace(wanted, done=False))))
        still_alone()
        if wanted.after is None:
            client.delete_registered_model_alias(name, wanted.alias)
        else:
            client.set_registered_model_alias(name, wanted.alias, wanted.after)
        client.set_registered_model_tag(name, place, json.dumps(asdict(wanted)))


def history(client: MlflowClient, name: str) -> list[AliasChange]:
    """Changes of the aliases of a registered model, the first one first. What is not readable as one is left out."""
    tags = client.get_registered_model(name).tags
    found = (_change(tags[key]) for key in sorted(tags) if key.startswith(_CHANGE))
    return [one for one in found if one is not None]


def _last(client: MlflowClient, name: str) -> int:
    """Number of the last change that was kept, readable or not; 0: none was."""
    numbers = (key.removeprefix(_CHANGE) for key in client.get_registered_model(name).tags if key.startswith(_CHANGE))
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def _change(text: str) -> AliasChange | None:
    try:
        values: dict[str, Any] = json.loads(text)
        return AliasChange(**{key: values[key] for key in AliasChange.__dataclass_fields__ if key in values})
    except (ValueError, TypeError):
        return None


@contextmanager
def alone(client: MlflowClient, settings: Settings, name: str) -> Iterator[turns.Check]:
    """Nobody else changes an alias, or retires a version, meanwhile; what it gives raises where that is not sure any more."""
    file = paths.registry_file(settings)
    if file is None:
        with turns.turn(client, name) as check:
            yield check
        return
    # beside the database: a file of its own, since SQLite's locks and ours would meet in one
    with open(file.with_name(f"{file.name}.lock"), "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lambda: None

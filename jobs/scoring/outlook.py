"""Which models are in force, for people: metrics, and a file that ``flowlake status`` reads and a driver that starts again."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from infra import files, log
from infra.config import Settings
from jobs.scoring import counters
from schemas.records import RecordType


@dataclass(frozen=True)
class Refusal:
    """A model that was not put in force, and why."""

    role: str
    version: str
    cause: str


@dataclass(frozen=True)
class ModelView:
    """What a driver has told of the models of a record type.

    Attributes
    ----------
    record
        Name of the record type.
    since
        When what is told came about, seconds since the epoch.
    in_force
        Role -> version.
    refused
        What was refused, and is still wanted.
    away
        Why the registry cannot be asked; empty: it can.
    gone
        Whether nothing has the champion's alias any more.
    """

    record: str
    since: float
    in_force: Mapping[str, str]
    refused: Sequence[Refusal]
    away: str
    gone: bool

    @property
    def problems(self) -> list[str]:
        """What a person should know, one line each."""
        stays = self.in_force.get("champion", "none")
        lines = [f"{self.record}: {one.role} version {one.version} is refused: {one.cause}" for one in self.refused]
        if self.gone:
            lines.append(f"{self.record}: nothing has the champion's alias, version {stays} stays in force")
        if self.away:
            lines.append(f"{self.record}: the model registry is away, version {stays} stays in force: {self.away}")
        return lines


def folder(settings: Settings) -> Path:
    """Where the files lie."""
    return settings.path(settings.paths.var) / "models"


def views(settings: Settings) -> list[ModelView]:
    """What was told of each record type; a file that cannot be read tells nothing."""
    return [view for file in sorted(folder(settings).glob("*.json")) if (view := _read(file)) is not None]


def _read(file: Path) -> ModelView | None:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        told["refused"] = [Refusal(**one) for one in told["refused"]]
        return ModelView(**told)
    except (OSError, ValueError, TypeError, KeyError):
        return None


class Outlook:
    """Shows the models of one record type."""

    def __init__(self, settings: Settings, record: RecordType) -> None:
        self._record = record.name
        self._file = folder(settings) / f"{record.name}.json"
        self._shown: ModelView | None = None

    def last_champion(self) -> str:
        """Version of the champion that was in force last, of this driver or one before; empty: not known."""
        view = _read(self._file)
        return view.in_force.get("champion", "") if view else ""

    def show(self, in_force: Mapping[str, str], refused: Sequence[Refusal], away: str, gone: bool) -> None:
        """Tell what is so now; nothing is written where it is as it was."""
        before = self._shown
        if before and (before.in_force, before.refused, before.away, before.gone) == (in_force, refused, away, gone):
            return
        _move(self._record, in_force)
        self._shown = ModelView(self._record, time.time(), in_force, refused, away, gone)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            files.replace(self._file, json.dumps(asdict(self._shown)))
        except OSError as e:
            log.get("jobs.scoring").warning("which models are in force cannot be written", path=str(self._file), cause=e.strerror)


#: Record type -> what the metrics show: they outlive a query.
_IN_FORCE: dict[str, Mapping[str, str]] = {}


def _move(record: str, now: Mapping[str, str]) -> None:
    before = _IN_FORCE.get(record, {})
    for role in {*before, *now}:
        if before.get(role) == now.get(role):
            continue
        if role in before:
            counters.IN_FORCE.remove(record, role, before[role])
        if role in now:
            counters.IN_FORCE.labels(record, role, now[role]).set(1)
            counters.SINCE.labels(record, role).set(time.time())
    _IN_FORCE[record] = dict(now)

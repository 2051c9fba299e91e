"""Where a retraining stands: one file in the folder of the run, whole at any time, so that it goes on where it was killed."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra import files
from infra.config import Settings
from infra.errors import ModelError, one_line
from schemas.records import RecordType

STATE = "state.json"


@dataclass
class RetrainRun:
    """A retraining.

    Attributes
    ----------
    folder
        Of its files.
    record
        Name of the record type.
    options
        What it was asked for.
    started
        ISO 8601, UTC.
    steps
        Step -> what came of it, of those that are done, in their order.
    closed
        Whether it came to its end, or was given up.
    """

    folder: Path
    record: str
    options: dict[str, Any]
    started: str
    steps: dict[str, dict[str, Any]]
    closed: bool = False

    @property
    def name(self) -> str:
        """Of the run: the time of its beginning."""
        return self.folder.name

    def done(self, step: str, found: dict[str, Any]) -> None:
        """Keep what came of a step.

        Raises
        ------
        ModelError
            The folder cannot be written.
        """
        self.steps[step] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **found}
        self.save()

    def save(self) -> None:
        """Write the state.

        Raises
        ------
        ModelError
            The folder cannot be written.
        """
        kept = {key: getattr(self, key) for key in ("record", "options", "started", "steps", "closed")}
        try:
            files.replace(self.folder / STATE, json.dumps(kept, indent=1, allow_nan=False))
        except OSError as e:
            raise _unwritable(self.folder, e) from e


def place(settings: Settings) -> Path:
    """Folder of all runs."""
    return settings.path(settings.paths.var) / "retrain"


def read(folder: Path) -> RetrainRun:
    """The run of a folder.

    Raises
    ------
    ModelError
        Its state cannot be read.
    """
    try:
        kept = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if not (isinstance(kept["options"], dict) and isinstance(kept["steps"], dict)):
            raise ValueError("no state of a run")
        return RetrainRun(folder, kept["record"], kept["options"], kept["started"], kept["steps"], kept["closed"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ModelError(f"retraining {folder}: {STATE} is unreadable: {one_line(e)}", "begin anew: flowlake models retrain --new") from e


def unfinished(settings: Settings, record: RecordType) -> RetrainRun | None:
    """The last run of a record type, unless it came to its end.

    Raises
    ------
    ModelError
        Its state cannot be read.
    """
    states = sorted(place(settings).glob(f"*-{record.name}/{STATE}"), reverse=True)  # as :func:`begin` names them
    last = read(states[0].parent) if states else None
    return None if last is None or last.closed else last


def begin(settings: Settings, record: RecordType, options: dict[str, Any]) -> RetrainRun:
    """A new run.

    Raises
    ------
    ModelError
        Its folder cannot be made.
    """
    now = datetime.now(UTC)
    folder = place(settings) / f"{now:%Y%m%dT%H%M%S.%f}-{record.name}"
    run = RetrainRun(folder, record.name, options, now.isoformat(timespec="seconds"), {})
    try:
        folder.mkdir(parents=True)
    except OSError as e:
        raise _unwritable(folder, e) from e
    run.save()
    return run


@contextmanager
def alone(settings: Settings, record: RecordType) -> Iterator[None]:
    """Nobody else retrains this record type on this machine meanwhile. The lock goes with the process that holds it.

    Raises
    ------
    ModelError
        Somebody does, or the folder cannot be written.
    """
    file = place(settings) / f"{record.name}.lock"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.open("a", encoding="utf-8")
    except OSError as e:
        raise _unwritable(file.parent, e) from e
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise ModelError(
                f"record type {record.name} is being retrained already ({file} is locked)", "wait for that run; it goes on by itself"
            ) from e
        yield


def _unwritable(folder: Path, error: OSError) -> ModelError:
    return ModelError(f"retraining {folder}: {error.strerror}", "set paths.var to a folder of yours")

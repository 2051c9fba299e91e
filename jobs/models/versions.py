"""Versions of a registered model, as the registry knows them; loads none."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.config import Settings
from infra.errors import ModelError
from jobs.scoring import aliases, tracking
from jobs.scoring.names import features_of, model_name
from jobs.training.sources import DATA
from schemas.records import RecordType

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

#: Tag of a version that is retired: JSON with who, when and why.
RETIRED = "retired"
#: Versions that the registry is asked for at once.
_PAGE = 1000


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    ``retired`` is why it was retired, None where it was not; ``facts`` are its other tags, ``metrics`` and ``params`` those of the run
    that it was registered in. What a model that was registered by hand does not say is empty.
    """

    model: str
    version: str
    aliases: tuple[str, ...]
    created: datetime
    threshold: float | None
    columns: tuple[str, ...]
    retired: str | None
    facts: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]

    @property
    def label(self) -> str:
        """It in words."""
        return f"model {self.model} version {self.version}"

    def fact(self, name: str) -> str:
        """A tag; empty where it has none."""
        return self.facts.get(name, "")

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {
            "model": self.model,
            "version": self.version,
            "aliases": list(self.aliases),
            "created": self.created.isoformat(timespec="seconds"),
            "retired": self.retired,
            "threshold": self.threshold,
            "columns": list(self.columns),
            **{k: v for k, v in self.facts.items() if k not in ("columns", "threshold", RETIRED)},
            "metrics": {k: v if v == v else None for k, v in self.metrics.items()},
            "params": dict(self.params),
        }


def versions(settings: Settings, record: RecordType) -> list[Version]:
    """All versions, the newest first; none where nothing was registered yet.

    Raises
    ------
    ModelError
        The registry is missing or cannot be reached.
    """
    with tracking.opened(settings, create=False) as client:
        held = _aliases(client, settings, record)
        found, token = list[Any](), None
        while token is None or token:
            page = client.search_model_versions(f"name='{model_name(settings, record)}'", max_results=_PAGE, page_token=token)
            found += page
            token = page.token or ""
        return sorted((_version(client, one, held) for one in found), key=lambda one: -int(one.version))


def version(settings: Settings, record: RecordType, name: str) -> Version:
    """The version of a number or of an alias, such as ``champion``.

    Raises
    ------
    ModelMissingError
        There is none; the hint says which there are.
    ModelError
        The registry cannot be reached.
    """
    with tracking.opened(settings, create=False) as client:
        return _version(client, found(client, settings, record, name), _aliases(client, settings, record))


def found(client: MlflowClient, settings: Settings, record: RecordType, name: str) -> ModelVersion:
    """MLflow's version of a number or alias.

    Raises
    ------
    ModelMissingError
        There is none; the hint says which there are.
    """
    name = name.strip()
    try:
        if name.isdigit():
            return tracking.by_number(client, settings, record, name)
        return tracking.by_alias(client, settings, record, name)
    except tracking.ModelMissingError as e:
        there = client.search_model_versions(f"name='{model_name(settings, record)}'")
        held = _aliases(client, settings, record)
        say = ", ".join([*sorted(held), *sorted((str(one.version) for one in there), key=int)[-12:]])
        e.hint = f"there are: {say}" if there else f"none is registered yet: {features_of(record).train}"
        raise


def artifact(settings: Settings, record: RecordType, number: str, path: str, to: Path) -> Path:
    """Copy a file that was logged with a version to ``to``, a file or a folder.

    Raises
    ------
    ArtifactMissingError
        It has no such file.
    ModelError
        The registry cannot be reached, or ``to`` cannot be written.
    """
    with tracking.opened(settings, create=False) as client, tempfile.TemporaryDirectory(prefix="flowlake-artifact-") as temp:
        one = found(client, settings, record, number)
        file = tracking.fetch(client, one, settings, path, Path(temp))
        if not file.is_file():
            raise ModelError(f"model {one.name} version {one.version}: {path} beside it is no file", "the registry's files are damaged")
        try:
            return Path(shutil.copyfile(file, to / file.name if to.is_dir() else to))
        except OSError as e:
            raise ModelError(f"{to}: {e.strerror}", "name a file in a folder of yours") from e


def trained_on(one: Version, file: Path) -> str:
    """A sentence where a version was trained on this very file, by its checksum, which says nothing of other records; else empty."""
    if not one.fact("data_version").startswith("sha256:"):
        return ""
    try:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:  # a folder, or not there: told by whoever reads it
        return ""
    if one.fact("data_version") != f"sha256:{digest}":
        return ""
    return f"version {one.version} was trained on this very file: how right it is about it says nothing of other records"


def data(settings: Settings, record: RecordType, number: str) -> dict[str, Any]:
    """What a version was trained on, as its training has written it down (:meth:`jobs.training.sources.Sourced.write`); else empty.

    Raises
    ------
    ModelError
        The registry cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="flowlake-data-") as temp:
        try:
            found = json.loads(artifact(settings, record, number, DATA, Path(temp)).read_text(encoding="utf-8"))
        except (tracking.ArtifactMissingError, ValueError):  # of an older program, or registered by hand
            return {}
    return found if isinstance(found, dict) else {}


def history(settings: Settings, record: RecordType) -> list[aliases.AliasChange]:
    """Promotions, rollbacks and withdrawals, the first one first.

    Raises
    ------
    ModelError
        The registry cannot be reached.
    """
    from mlflow.exceptions import MlflowException

    with tracking.opened(settings, create=False) as client:
        try:
            return aliases.history(client, model_name(settings, record))
        except MlflowException as e:
            if e.error_code == "RESOURCE_DOES_NOT_EXIST":
                return []
            raise


def _aliases(client: MlflowClient, settings: Settings, record: RecordType) -> dict[str, str]:
    """Alias -> version. Version searches of MLflow do not tell them."""
    from mlflow.exceptions import MlflowException

    try:
        return {str(k): str(v) for k, v in client.get_registered_model(model_name(settings, record)).aliases.items()}
    except MlflowException as e:
        if e.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise


def _version(client: MlflowClient, one: ModelVersion, held: Mapping[str, str]) -> Version:
    number, tags = str(one.version), dict(one.tags)
    run = _run(client, one)
    return Version(
        model=one.name,
        version=number,
        aliases=tuple(sorted(alias for alias, version in held.items() if version == number)),
        created=datetime.fromtimestamp(one.creation_timestamp / 1000, UTC),
        threshold=_threshold(tags.get("threshold", "")),
        columns=_columns(tags.get("columns", "")),
        retired=_reason(tags[RETIRED]) if RETIRED in tags else None,
        facts=tags,
        metrics=dict(run.data.metrics) if run else {},
        params=dict(run.data.params) if run else {},
    )


def _run(client: MlflowClient, one: ModelVersion) -> Any:
    """The run that it was registered in; None where that is gone, or it was registered by hand."""
    from mlflow.exceptions import MlflowException

    if not one.run_id:
        return None
    try:
        return client.get_run(one.run_id)
    except MlflowException as e:
        if e.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _threshold(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _columns(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(one) for one in json.loads(text))
    except (ValueError, TypeError):
        return ()


def _reason(text: str) -> str:
    try:
        return str(json.loads(text)["why"])
    except (ValueError, TypeError, KeyError):
        return text

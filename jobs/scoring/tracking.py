"""The MLflow server or file behind the registry: a client of it, whose failures are one line each.

MLflow is imported inside the functions: it takes seconds, and workers never need it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shlex
import sqlite3
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from infra import files, paths
from infra.config import Settings
from infra.errors import FlowlakeError, ModelError, one_line, without_password
from jobs.scoring.names import model_name
from schemas.records import RecordType

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

EXPERIMENT = "flowlake"
#: MLflow's variables and Python's warnings are those of the whole process: two threads do not change them at once.
_ONE_AT_A_TIME = threading.RLock()
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the default waits for minutes on a server that is not there
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
}
#: Seconds that another program's write is waited for.
_WAIT_S = 5.0
#: What to do where there is no registry.
MAKE = "flowlake train makes one; scoring.tracking_uri says where it is"
#: Digits that the number of a version has at most: SQLite's numbers end there.
_DIGITS = 18
#: Tables by one of which MLflow's database is known, even one whose making was interrupted.
_TABLES = {"alembic_version", "experiments", "registered_models"}
#: How MLflow says that there is no such thing.
_NO_SUCH = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class ModelMissingError(ModelError):
    """There is no registry, or no model with the alias."""


def tracking_uri(settings: Settings) -> str:
    """The configured URI; that of an SQLite file as SQLAlchemy and MLflow read it, a relative one resolved against the project's folder."""
    return paths.registry_uri(settings)


def is_local(settings: Settings) -> bool:
    """Whether the registry is a file of this machine."""
    return paths.registry_file(settings) is not None


def shown(settings: Settings) -> str:
    """The registry as a person reads it: a file by its path, a server by its URI without the password."""
    return str(paths.registry_file(settings) or without_password(settings.scoring.tracking_uri))


class ArtifactMissingError(ModelError):
    """No such file was logged with a version."""


@contextmanager
def opened(settings: Settings, *, create: bool) -> Iterator[MlflowClient]:
    """An MLflow client without MLflow's chatter; whatever fails inside is one line.

    Parameters
    ----------
    settings
        Section ``scoring``.
    create
        Make a registry in a file where there is none.

    Raises
    ------
    ModelMissingError
        There is no such file.
    ModelError
        The registry cannot be reached, read or written.
    """
    uri = tracking_uri(settings)
    if file := paths.registry_file(settings):
        paths.check_registry(settings)
        _check_sqlite(file, create=create)
    for key, value in _QUIET.items():
        os.environ.setdefault(key, value)
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow

        for chatty in ("mlflow", "alembic", "alembic.runtime.migration"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # a stack trace of what is raised anyway
        try:
            if file and create and not file.exists():
                _make(file)
            yield mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        except FlowlakeError:
            raise
        except Exception as e:  # MLflow raises its own, SQLAlchemy's, requests' and the operating system's
            reason = one_line(str(e).partition("[SQL: ")[0] or e)
            raise ModelError(f"model registry {shown(settings)}: {reason}", _way_out(reason, uri)) from e


def _make(file: Path) -> None:
    """Make an empty registry, whole or not at all: of two programs that laid out the tables of one file at once, both would fail."""
    import mlflow

    begun = file.with_name(f"{file.name}.{uuid.uuid4().hex}.new")
    uri = f"sqlite+pysqlite:///{quote(str(begun))}"
    try:
        mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri).search_registered_models(max_results=1)
        try:
            os.link(begun, file)
        except FileExistsError:  # another program was first
            pass
        except OSError:  # a file system without links
            if not file.exists():
                files.replace(file, begun.read_bytes())
    finally:
        begun.unlink(missing_ok=True)


def _way_out(reason: str, uri: str) -> str:
    if "out-of-date database schema" in reason:
        return f"mlflow db upgrade {shlex.quote(without_password(uri))}"
    if "database is locked" in reason:
        return "another program is writing to it: the same command again, in a moment"
    if "malformed" in reason:
        return "the file is damaged: put a copy of it back, or move it away and train a model"
    if "readonly database" in reason:
        return "make the file and its folder writable, or name another: scoring.tracking_uri"
    return "scoring.tracking_uri names the registry"


def _check_sqlite(file: Path, *, create: bool) -> None:
    """Fail at once where MLflow would retry for a minute, and never create a registry by looking for a model."""
    if not file.exists():
        if not create:
            raise ModelMissingError(f"no model registry at {file}", MAKE)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise ModelError(f"model registry {file}: {e.strerror}", "scoring.tracking_uri names a file that can be written") from e
        return
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", _WAIT_S, uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as e:
        away = "move the file away; then train one"
        raise ModelError(f"model registry {file}: {e}", _way_out(str(e), "") if "locked" in str(e) else away) from e
    if not tables and not create:
        raise ModelMissingError(f"no model registry at {file}: the database is empty", MAKE)
    if tables and not tables & _TABLES:  # MLflow would put its own beside them
        some = ", ".join(sorted(tables)[:4])
        raise ModelError(f"model registry {file}: a database of something else, with {some}", "name another: scoring.tracking_uri")


def check_writable(settings: Settings) -> None:
    """See that a version could be put into a registry of this machine; a server says so itself.

    Raises
    ------
    ModelError
        Its file or the folder of the models' files cannot be written.
    """
    file, root = paths.registry_file(settings), settings.path(settings.scoring.artifact_root)
    if file is None:
        return
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", _WAIT_S, uri=True)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except sqlite3.Error as e:
        raise ModelError(f"model registry {file}: {e}", _way_out(str(e), "")) from e
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as e:
        raise ModelError(f"files of models {root}: {e.strerror}", "scoring.artifact_root names a folder that can be written") from e


def experiment(client: MlflowClient, settings: Settings) -> str:
    """The experiment's id. A local one whose folder has moved with the project gets a successor: MLflow fixes an experiment's folder."""
    if not is_local(settings):
        found = client.get_experiment_by_name(EXPERIMENT)
        return str(found.experiment_id) if found else _begun(client, EXPERIMENT)
    root = settings.path(settings.scoring.artifact_root)
    root.mkdir(parents=True, exist_ok=True)
    place = root.as_uri()
    name = EXPERIMENT
    if (found := client.get_experiment_by_name(name)) and found.artifact_location != place:
        name = f"{EXPERIMENT} {hashlib.sha256(place.encode()).hexdigest()[:8]}"
        found = client.get_experiment_by_name(name)
    return str(found.experiment_id) if found else _begun(client, name, place)


def _begun(client: MlflowClient, name: str, place: str | None = None) -> str:
    """The id of an experiment that was not there a moment ago: another program may make it meanwhile."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(name, artifact_location=place))
    except MlflowException as e:
        found = client.get_experiment_by_name(name) if e.error_code == "RESOURCE_ALREADY_EXISTS" else None
        if found is None:
            raise
        return str(found.experiment_id)


def ensure_registered(client: MlflowClient, name: str) -> None:
    """Make the registered model where there is none."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description="Records to attack probability and type (flowlake).")
    except MlflowException as e:
        if e.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def by_alias(client: MlflowClient, settings: Settings, record: RecordType, alias: str) -> ModelVersion:
    """The version with an alias.

    Raises
    ------
    ModelMissingError
        None has it.
    """
    name = model_name(settings, record)
    found = _if_there(client.get_model_version_by_alias, name, alias)
    if found is None:
        raise ModelMissingError(f"model registry {shown(settings)}: no version of model {name!r} is {alias} yet")
    return found


def by_number(client: MlflowClient, settings: Settings, record: RecordType, version: str) -> ModelVersion:
    """The version of a number.

    Raises
    ------
    ModelMissingError
        There is none.
    """
    name = model_name(settings, record)
    possible = version.isascii() and version.isdigit() and len(version) <= _DIGITS
    found = _if_there(client.get_model_version, name, version) if possible else None
    if found is None:
        raise ModelMissingError(f"model registry {shown(settings)}: no version {version[:40]!r} of model {name!r}")
    return found


def _if_there(ask: Callable[[str, str], ModelVersion], name: str, which: str) -> ModelVersion | None:
    """What MLflow answers; None where it says that there is no such thing."""
    from mlflow.exceptions import MlflowException

    try:
        return ask(name, which)
    except MlflowException as e:
        if e.error_code in _NO_SUCH:
            return None
        raise


def fetch(client: MlflowClient, version: ModelVersion, settings: Settings, path: str, temp: Path) -> Path:
    """A file or folder that was logged with a version (``path``, of its run), on this machine; in ``temp`` where it had to be fetched.

    Raises
    ------
    ArtifactMissingError
        It is not there.
    ModelError
        It cannot be fetched.
    """
    missing = ArtifactMissingError(f"model {version.name} version {version.version}: it has no file {path}", "it was registered without")
    if not version.run_id:  # registered by hand, out of a folder
        raise missing
    if is_local(settings):
        place = settings.path(settings.scoring.artifact_root)  # not MLflow's absolute path: the project may have moved
        found = place / version.run_id / "artifacts" / path
        if not found.exists():
            raise missing
        return found
    import mlflow

    try:
        if not any(f.path == path for f in client.list_artifacts(version.run_id, str(Path(path).parent) if "/" in path else None)):
            raise missing
        return Path(mlflow.artifacts.download_artifacts(
            run_id=version.run_id, artifact_path=path, dst_path=str(temp), tracking_uri=tracking_uri(settings)
        ))  # fmt: skip
    except ArtifactMissingError:
        raise
    except Exception as e:
        raise ModelError(f"model {version.name} version {version.version}: {path} cannot be fetched: {one_line(e)}") from e


def fetch_model(client: MlflowClient, version: ModelVersion, settings: Settings, label: str, temp: Path) -> Path:
    """The model's folder on this machine.

    Raises
    ------
    ModelError
        It is gone, or cannot be fetched.
    """
    if is_local(settings) and (relative := version.tags.get("artifact_path")):
        folder = settings.path(settings.scoring.artifact_root) / relative  # not MLflow's absolute path: the project may have moved
        if not (folder / "MLmodel").is_file():
            raise ModelError(f"{label}: artefact missing, {folder} holds no MLmodel")
        return folder
    import mlflow

    try:
        where = client.get_model_version_download_uri(version.name, version.version)
        return Path(mlflow.artifacts.download_artifacts(where, dst_path=str(temp), tracking_uri=tracking_uri(settings)))
    except Exception as e:
        raise ModelError(f"{label}: artefact {version.source} cannot be fetched: {one_line(e)}") from e

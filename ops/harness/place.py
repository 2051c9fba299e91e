"""Where a demo's things lie, and the settings it runs with: everything of its own, so that nobody else's data is touched.

The topics have a prefix of their own for each run, the tables a database of their own, lake and checkpoints a folder below ``var/demo``.
The settings are written to ``var/demo/conf.yaml``: the demo's processes start from that file, and
``flowlake flows --conf-file var/demo/conf.yaml`` finds the same data.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import IO, Any

import yaml

from infra import config, files, paths
from infra.config import PREFIX, Settings
from infra.errors import ConfigError, StackError
from infra.process import free_port
from infra.stack.local import LOOPBACK
from infra.stack.s3 import ObjectStore

DATABASE = "flowlake_demo"
BUCKET = "flowlake-demo"
_TOPICS = "demo-"
#: Folder of the object store below the place.
_OBJECTS = "s3"


@dataclass(frozen=True)
class Place:
    """Folders and files of one demo; ``base`` is ``var/demo``."""

    base: Path

    @property
    def conf(self) -> Path:
        return self.base / "conf.yaml"

    @property
    def run(self) -> Path:
        """Pid files, and the small files through which the demo's processes speak to each other."""
        return self.base / "run"

    @property
    def logs(self) -> Path:
        return self.base / "log"

    @property
    def truth(self) -> Path:
        return self.base / "truth.parquet"

    @property
    def report(self) -> Path:
        return self.base / "report.json"

    @property
    def page(self) -> Path:
        return self.base / "report.html"

    @property
    def started(self) -> Path:
        """Names the servers that a demo started: one that was killed leaves them running, and the next one stops them."""
        return self.base / "started.json"

    def lock(self) -> IO[str]:
        """Take the place for this process; given back when the file is closed or the process ends.

        Raises
        ------
        StackError
            Another demo runs here, or the folder cannot be written.
        """
        try:
            self.base.mkdir(parents=True, exist_ok=True)
            file = (self.base / ".lock").open("a+", encoding="utf-8")
        except OSError as e:
            raise StackError(f"folder {self.base} cannot be written: {e.strerror}", "choose another with paths.var or FLOWLAKE_HOME") from e
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            file.seek(0)
            owner = file.read().strip()
            file.close()
            raise StackError(
                f"a demo runs already in {self.base}" + (f" (pid {owner})" if owner else ""), "wait for it, or end it with Ctrl-C"
            ) from e
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        return file

    def clear(self) -> None:
        """Remove what the last run left: tables of the lake, checkpoints, reports, truth, logs. The list of started servers stays."""
        for folder in self.base.iterdir():
            if folder.is_dir() and folder.name != _OBJECTS:  # the object store empties its bucket itself
                shutil.rmtree(folder, ignore_errors=True)
        for file in (self.truth, self.report, self.page, self.conf):
            file.unlink(missing_ok=True)
        for folder in (self.run, self.logs):
            folder.mkdir(parents=True, exist_ok=True)

    def remember_started(self, names: set[str]) -> None:
        """Note which servers are the demo's to stop."""
        files.replace(self.started, json.dumps(sorted(names)))

    def was_started(self) -> set[str]:
        """Servers that an earlier demo started and did not stop."""
        try:
            return {str(name) for name in json.loads(self.started.read_text(encoding="utf-8"))}
        except (OSError, ValueError, TypeError):
            return set()


def place(settings: Settings) -> Place:
    """The place of these settings: ``<paths.var>/demo``."""
    return Place(settings.path(settings.paths.var) / "demo")


def own(settings: Settings, where: Place, *, s3: bool = False) -> Settings:
    """The settings of a demo: the given ones, with topics, tables and folders of its own; with ``s3`` an object store for the lake.

    Raises
    ------
    ConfigError
        Broker or database are on another machine: the demo makes and drops topics and a database.
    """
    host = settings.kafka.bootstrap_servers.rpartition(":")[0]
    for name, value in (("kafka.bootstrap_servers", host), ("hot.host", settings.hot.host), ("alerts.host", settings.alerts.host)):
        if value not in LOOPBACK:
            raise ConfigError(f"{name} is {value}: the demo runs on the local stack only", "flowlake demo --conf-file conf/local.yaml")
    mend = "FLOWLAKE_PATHS__VAR=/another/folder, or FLOWLAKE_HOME"
    paths.check(where.base, "paths.var (the demo's lake lies in it)", paths.LAKE, f"name another folder: {mend}")
    change = {
        "kafka": {"topic_prefix": f"{settings.kafka.topic_prefix}{_TOPICS}{uuid.uuid4().hex[:8]}."},
        "lake": _bucket() if s3 else {"path": str(where.base / "lake"), "tables": {}},
        "hot": {"database": DATABASE},
        "alerts": {"database": DATABASE},
        "archive": {"path": str(where.base / "archive")},
        "paths": {"checkpoints": str(where.base / "checkpoints")},
        "metrics": {"stream_port": 0, "sensor_port": 0},
        "log": {"format": "console"},
    }
    return settings.model_copy(update={s: getattr(settings, s).model_copy(update=values) for s, values in change.items()})


def _bucket() -> dict[str, Any]:
    """Settings of the lake in the demo's object store. Its keys go to the demo's processes as all keys do: by the environment."""
    values = ObjectStore(Path(), free_port()).lake(BUCKET)
    for name in ("s3_access_key", "s3_secret_key"):
        os.environ[f"{PREFIX}LAKE__{name.upper()}"] = values[name].get_secret_value()
    return {**values, "tables": {}, "s3_addressing": "path", "s3_ca": ""}


def is_demo_topic(settings: Settings, topic: str) -> bool:
    """Whether a topic belongs to a demo, this one or an earlier one, under the user's own prefix."""
    prefix = settings.kafka.topic_prefix.split(_TOPICS)[0] + _TOPICS
    token, dot, _ = topic.removeprefix(prefix).partition(".")
    return topic.startswith(prefix) and bool(dot) and len(token) == 8 and all(c in "0123456789abcdef" for c in token)


def write_conf(settings: Settings, file: Path) -> None:
    """The settings as a configuration file, secrets left out (they come from the environment)."""
    values: dict[str, Any] = settings.model_dump(mode="json")
    for name in config.secret_fields(type(settings)):
        *place, key = name.split(".")
        del reduce(getitem, place, values)[key]
    text = "# Settings of the last demo. Its data: flowlake flows --conf-file <this file>\n"
    files.replace(file, text + yaml.safe_dump(values, sort_keys=False))


def environment(where: Place) -> dict[str, str]:
    """Environment of the demo's processes: the file rules, of the ``FLOWLAKE_`` settings only the secrets are passed on."""
    names = config.secret_fields(config.composed(config.catalogue(where.conf if where.conf.exists() else None).packages))
    secret = {PREFIX + name.upper().replace(".", "__") for name in names}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX) or k in secret or k in config.NOT_SETTINGS}
    return kept | {"FLOWLAKE_CONF": str(where.conf), "PYTHONUNBUFFERED": "1"}

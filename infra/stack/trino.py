"""A local Trino server: one process on loopback, for tests and to try it without a cluster."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra import files
from infra.errors import StackError
from infra.jvm import java
from infra.jvm import trino as package
from infra.process import Daemon, require_port

#: Names of catalogs that are ours to write and to remove.
CATALOGS = ("lake", "hot", "alerts", "archive")


@dataclass
class TrinoServer:
    """One server.

    Parameters
    ----------
    dir : Path
        Folder of its configuration (``etc/``), data, pid file and log.
    port : int
        On 127.0.0.1.
    configuration : mapping of str to str
        Name below ``etc/`` -> content (:func:`jobs.engines.properties.files`); options of its Java in ``jvm.config``.
    secrets : mapping of str to str
        Variables of the environment that the configuration names.
    """

    dir: Path
    port: int
    configuration: Mapping[str, str]
    secrets: Mapping[str, str]
    daemon: Daemon = field(init=False)

    def __post_init__(self) -> None:
        self.daemon = Daemon("trino", self.dir / "run", self.dir / "logs")

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def ready(self) -> bool:
        """Whether it has started, by its own word."""
        try:
            with urllib.request.urlopen(f"{self.url}/v1/info", timeout=5) as answer:
                return json.load(answer)["starting"] is False
        except (OSError, ValueError, KeyError):
            return False

    def start(self, timeout_s: float = 300.0) -> None:
        """Start and wait until it answers.

        Raises
        ------
        StackError
            It has not been fetched, its port is taken, or it ended: with the line of its log that says why.
        """
        if lacking := package.missing():
            raise StackError(lacking, package.HINT)
        require_port(self.port, "Trino", "trino.url")
        etc = self.dir / "etc"
        write(etc, self.configuration)
        home = package.home()
        options = self.configuration["jvm.config"].split()
        argv = [str(package.launcher()), *options, f"-Dnode.id={self.dir.name}", f"-Dconfig={etc / 'config.properties'}"]
        argv += [f"-D{line}" for line in self.configuration["node.properties"].splitlines()]
        argv += [f"-Dlog.levels-file={etc / 'log.properties'}", f"-Dcatalog.config-dir={etc / 'catalog'}"]
        argv += [f"-Daccess-control.config-files={etc / 'access-control.properties'}", f"-Dplugin.dir={home / 'plugin'}"]
        argv += ["-cp", f"{home / 'lib'}/*", "io.trino.server.TrinoServer"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLOWLAKE_", "AWS_"))}
        self.daemon.start(argv, env={**kept, **java.LOCALE, **self.secrets}, cwd=self.dir)
        self.daemon.wait_ready(self.ready, timeout_s)

    def stop(self, timeout_s: float = 30.0) -> bool:
        """Stop it; returns whether it ran."""
        return self.daemon.stop(timeout_s)


def write(etc: Path, configuration: Mapping[str, str]) -> None:
    """Write a server's configuration. One of our catalogs that is no more is removed; those of others stay.

    Raises
    ------
    StackError
        The folder cannot be written.
    """
    try:
        (etc / "catalog").mkdir(parents=True, exist_ok=True)
        for name in CATALOGS:
            if f"catalog/{name}.properties" not in configuration:
                (etc / "catalog" / f"{name}.properties").unlink(missing_ok=True)
        for name, content in configuration.items():
            files.replace(etc / name, content)
    except OSError as e:
        raise StackError(f"configuration of Trino cannot be written into {etc}: {e.strerror}", "name another folder: --into") from e

"""The local stack as a whole: Kafka, PostgreSQL, the lake folder and the topics, all under ``paths.var``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from infra import paths
from infra.config import PostgresSettings, Settings
from infra.errors import StackError, StoreError
from infra.kafka import topics
from infra.process import Daemon, port_owner, query
from infra.stack.kafka import Kafka
from infra.stack.postgres import Postgres

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
#: Log names of ``flowlake logs``: stem of the file under ``var/logs``.
LOGS = ("kafka", "postgres", "spark")


@dataclass(frozen=True)
class PartState:
    """One part: ``state`` is ready, running, starting, stopped, remote or ok; memory in MiB, with the children's; uptime in seconds."""

    name: str
    state: str
    address: str
    pid: int | None = None
    memory_mb: int | None = None
    seconds: float | None = None
    detail: str = ""


class LocalStack:
    """Start, stop and look at the local stack. Parts whose address is not on loopback are somebody else's and are left alone."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.var = settings.path(settings.paths.var)
        self.run_dir, self.log_dir = self.var / "run", self.var / "logs"

    def kafka(self) -> Kafka | None:
        """The local broker, or None when the settings name one elsewhere."""
        servers = [s.strip() for s in self.settings.kafka.bootstrap_servers.split(",") if s.strip()]
        host, _, port = servers[0].rpartition(":") if len(servers) == 1 else ("", "", "")
        if host not in LOOPBACK or not port.isdigit():
            return None
        return Kafka(self.var / "kafka", int(port), run_dir=self.run_dir, log_dir=self.log_dir)

    def postgres(self) -> Postgres | None:
        """The local database server, or None when both stores are elsewhere.

        Raises
        ------
        StackError
            Both stores are local but not one server.
        """
        local = [store for store in (self.settings.hot, self.settings.alerts) if store.host in LOOPBACK]
        if not local:
            return None
        first = local[0]
        for other in local[1:]:
            if (other.port, other.user, other.password) != (first.port, first.user, first.password):
                raise StackError(
                    f"hot and alerts are both local, but on ports {first.port} and {other.port} or with different users or passwords",
                    "give both sections the same port, user and password (the local stack is one server)",
                )
        return Postgres(
            self.var / "postgres", first.port, first.user, first.password.get_secret_value(), run_dir=self.run_dir, log_dir=self.log_dir
        )

    def databases(self) -> list[str]:
        """Names of the local databases, each once."""
        stores: list[PostgresSettings] = [self.settings.hot, self.settings.alerts]
        return sorted({store.database for store in stores if store.host in LOOPBACK})

    def lake(self) -> Path | None:
        """Folder of the lake, or None when it is on S3."""
        return None if "://" in self.settings.lake.path else self.settings.path(self.settings.lake.path)

    def up(self, say: Callable[[str], None] = lambda _: None) -> topics.Report:
        """Start what does not run, create databases, lake folder and topics. Doing it again changes nothing.

        Parameters
        ----------
        say : callable
            Given one line of progress at a time.

        Raises
        ------
        ConfigError
            A folder that some part cannot work in; nothing has been written.
        StackError, StoreError, BrokerError
            The first part that does not come up; what was started before it stays up.
        """
        paths.check_settings(self.settings)
        lake = self.lake()
        if lake is not None:
            try:
                lake.mkdir(parents=True, exist_ok=True)
            except OSError as e:
                raise StoreError(f"lake folder {lake} cannot be written: {e.strerror}", "choose another with lake.path") from e
        database, broker = self.postgres(), self.kafka()
        if database is not None:
            say(f"postgres  {_was(database.start())}  127.0.0.1:{database.port}")
            for name in self.databases():
                database.create_database(name)
        if broker is not None:
            say(f"kafka     {_was(broker.start())}  {broker.bootstrap}")
        report = topics.ensure(self.settings)
        created = sum(topic.created for topic in report.topics)
        say(f"topics    {created} created, {len(report.topics) - created} there" if created else f"topics    {len(report.topics)} there")
        if lake is not None:
            say(f"lake      {lake}")
        return report

    def down(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Stop what runs: the stream first, then the servers. Data stays."""
        for daemon, queries in self.drivers():
            if daemon.stop(60):
                say(f"stream    stopped ({', '.join(queries)})")
        broker, database = self.kafka(), self.postgres()
        if broker is not None:
            say(f"kafka     {'stopped' if broker.stop() else 'was not running'}")
        if database is not None:
            say(f"postgres  {'stopped' if database.stop() else 'was not running'}")

    def query(self, name: str) -> Daemon:
        """The driver that runs a query on this machine."""
        return query(self.settings, name)

    def drivers(self) -> list[tuple[Daemon, list[str]]]:
        """Drivers that run on this machine, each with the names of its queries."""
        found: dict[int, tuple[Daemon, list[str]]] = {}
        for file in sorted(self.run_dir.glob("query-*.pid")):
            name = file.stem.removeprefix("query-")
            if (process := self.query(name).process()) is not None:
                found.setdefault(process.pid, (self.query(name), []))[1].append(name)
        return list(found.values())

    def parts(self) -> list[PartState]:
        """State of every part, without starting anything."""
        broker, database, lake = self.kafka(), self.postgres(), self.lake()
        states = [
            _server("kafka", broker.daemon, f"127.0.0.1:{broker.port}", broker.ready, broker.port)
            if broker
            else PartState("kafka", "remote", self.settings.kafka.bootstrap_servers),
            _server("postgres", database.daemon, f"127.0.0.1:{database.port}", database.ready, database.port)
            if database
            else PartState("postgres", "remote", f"{self.settings.hot.host}:{self.settings.hot.port}"),
        ]
        drivers = self.drivers()
        states += [replace(_running("stream", daemon), detail=f"({', '.join(queries)})") for daemon, queries in drivers]
        if not drivers:
            states.append(PartState("stream", "stopped", ""))
        if lake is None:
            states.append(PartState("lake", "remote", self.settings.lake.path))
        else:
            states.append(PartState("lake", "ok" if lake.is_dir() else "missing", str(lake)))
        return states


def _was(started: bool) -> str:
    return "started        " if started else "already running"


def _server(name: str, daemon: Daemon, address: str, ready: Callable[[], bool], port: int) -> PartState:
    state = _running(name, daemon)
    if state.pid is None:
        owner = port_owner(port)
        return PartState(name, "stopped", address, detail=f"(its port is taken by {owner})" if owner else "")
    return PartState(name, "ready" if ready() else "starting", address, state.pid, state.memory_mb, state.seconds)


def _running(name: str, daemon: Daemon) -> PartState:
    process = daemon.process()
    if process is None:
        return PartState(name, "stopped", "")
    try:
        family = [process, *process.children(recursive=True)]
        memory = sum(_private_bytes(member) for member in family)
        return PartState(name, "running", "", process.pid, memory >> 20, max(0.0, time.time() - process.create_time()))
    except psutil.Error:
        return PartState(name, "stopped", "")


def _private_bytes(process: psutil.Process) -> int:
    """Memory that is this process's alone plus its share of what is shared (PSS); RSS where that may not be read."""
    try:
        return int(getattr(process.memory_full_info(), "pss", 0) or process.memory_info().rss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0

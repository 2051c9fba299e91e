"""The local stack as a whole: Kafka, PostgreSQL, the lake folder and the topics, all under ``paths.var``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from infra import paths
from infra.config import Settings
from infra.errors import ConfigError, StackError, StoreError
from infra.kafka import topics
from infra.process import Daemon, query
from infra.sections import PostgresSettings
from infra.stack.kafka import Kafka
from infra.stack.parts import Broker, Database, PartState, Server, Whose, running_state
from infra.stack.postgres import Postgres

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
#: Log names of ``flowlake logs``: stem of the file under ``var/logs``.
LOGS = ("kafka", "postgres", "spark")
#: What ``up`` starts and ``down`` stops one by one; ``down`` knows the stream besides.
SERVERS = ("kafka", "postgres")
STREAM = "stream"
_LAST_PORT = 65_535


class LocalStack:
    """Start, stop and look at the local stack.

    A part whose address is not on loopback is somebody else's and is left alone. So is a server of the right kind that answers at its
    loopback address and was not started here: it is used as it is, and never stopped.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.var = settings.path(settings.paths.var)
        self.run_dir, self.log_dir = self.var / "run", self.var / "logs"

    def kafka(self) -> Kafka | None:
        """This stack's broker, or None when the settings name one elsewhere."""
        broker = self.broker()
        return broker.own if broker else None

    def broker(self) -> Broker | None:
        """The broker on loopback, whoever runs it, or None when the settings name one elsewhere.

        Raises
        ------
        ConfigError
            Its port is out of range.
        """
        servers = [s.strip() for s in self.settings.kafka.bootstrap_servers.split(",") if s.strip()]
        host, _, port = servers[0].rpartition(":") if len(servers) == 1 else ("", "", "")
        host = host.removeprefix("[").removesuffix("]")
        if host not in LOOPBACK or not port.isdecimal():
            return None
        if not 0 < int(port) <= _LAST_PORT:
            raise ConfigError(f"kafka.bootstrap_servers: {servers[0]}: port {port} is none", f"ports are 1 to {_LAST_PORT}")
        return Broker("kafka", host, int(port), "kafka.bootstrap_servers", self._own_kafka(int(port)), self.settings)

    def postgres(self) -> Postgres | None:
        """This stack's database server, or None when both stores are elsewhere.

        Raises
        ------
        StackError
            Both stores are local but not one server.
        """
        local = self._local_databases()
        _require_one_server(local)
        return local[0].own if local else None

    def databases(self) -> list[Database]:
        """The servers of the stores, on loopback or elsewhere, whoever runs them: one, or one for the hot store and one for the alerts."""
        servers: dict[tuple[str, int], dict[str, PostgresSettings]] = {}
        stores_of: tuple[tuple[str, PostgresSettings], ...] = (("hot", self.settings.hot), ("alerts", self.settings.alerts))
        for section, store in stores_of:
            host = "127.0.0.1" if store.host == "localhost" else store.host
            servers.setdefault((host, store.port), {})[section] = store
        found = []
        for stores in servers.values():
            section, store = next(iter(stores.items()))
            setting = " and ".join(f"{name}.port" for name in stores)
            name = "postgres" if len(servers) == 1 else f"postgres-{section}"
            found.append(Database(name, store.host, store.port, setting, self._own_postgres(store, setting), stores))
        return found

    def _local_databases(self) -> list[Database]:
        return [database for database in self.databases() if database.host in LOOPBACK]

    def require_startable(self) -> None:
        """Raise a StackError when ``up`` would have to start two database servers, or one for two users."""
        local = self._local_databases()
        if len(local) > 1 or not all(database.one_login() for database in local):
            _require_one_server([database for database in local if database.whose() is not Whose.EXTERNAL])

    def _own_kafka(self, port: int) -> Kafka:
        return Kafka(self.var / "kafka", port, run_dir=self.run_dir, log_dir=self.log_dir)

    def _own_postgres(self, store: PostgresSettings, setting: str) -> Postgres:
        password = store.password.get_secret_value()
        return Postgres(
            self.var / "postgres", store.port, store.user, password, run_dir=self.run_dir, log_dir=self.log_dir, setting=setting
        )

    def lake(self) -> Path | None:
        """Folder of the lake, or None when it is on S3."""
        return None if "://" in self.settings.lake.path else self.settings.path(self.settings.lake.path)

    def up(self, say: Callable[[str], None] = lambda _: None, only: Collection[str] = SERVERS) -> topics.Report | None:
        """Start what does not run, create databases, lake folder and topics. Doing it again changes nothing.

        Parameters
        ----------
        say : callable
            Given one line of progress at a time.
        only : collection of str
            Names of :data:`SERVERS`. Where some are left out, nothing of theirs is needed: topics go with the broker, the lake's folder
            with all of them.

        Returns
        -------
        Report or None
            State of the topics; None without the broker.

        Raises
        ------
        ConfigError
            A folder that some part cannot work in; nothing has been written.
        StackError, StoreError, BrokerError
            The first part that does not come up; what was started before it stays up.
        """
        everything = set(only) >= set(SERVERS)
        if everything:
            paths.check_settings(self.settings)
        else:
            paths.check_var(self.settings)
        lake = self._make_lake() if everything else None
        self._start([*(self.databases() if "postgres" in only else ())], say)
        if "kafka" not in only:
            return None
        broker = self.broker()
        if broker is None:
            say(f"kafka     remote           {self.settings.kafka.bootstrap_servers}")
        else:
            self._start([broker], say)
        report = topics.ensure(self.settings)
        created = sum(topic.created for topic in report.topics)
        say(f"topics    {created} created, {len(report.topics) - created} there" if created else f"topics    {len(report.topics)} there")
        if lake is not None:
            say(f"lake      {lake}")
        return report

    def _make_lake(self) -> Path | None:
        lake = self.lake()
        if lake is not None:
            try:
                lake.mkdir(parents=True, exist_ok=True)
            except OSError as e:
                raise StoreError(f"lake folder {lake} cannot be written: {e.strerror}", "choose another with lake.path") from e
        return lake

    def _start(self, servers: Sequence[Server], say: Callable[[str], None]) -> None:
        """Use those that somebody else runs, then start the rest."""
        local = [server for server in servers if server.host in LOOPBACK]
        whose = {server.name: server.whose() for server in local}
        ours = [server for server in local if whose[server.name] is not Whose.EXTERNAL]
        _require_one_server([server for server in ours if isinstance(server, Database)])
        for server in servers:
            if server.host not in LOOPBACK:
                say(f"{server.name:<9} remote           {server.address}")
            elif server not in ours:
                made = server.use()
                say(f"{server.name:<9} external         {server.address}" + (f", database {' and '.join(made)} created" if made else ""))
                if elsewhere := server.elsewhere():
                    say(f"{'':<9} {elsewhere}")
        for server in ours:
            say(f"{server.name:<9} {_was(server.start())}  {server.address}")

    def down(self, say: Callable[[str], None] = lambda _: None, only: Collection[str] = (*SERVERS, STREAM)) -> None:
        """Stop what this stack runs, whatever address the settings name by now: the stream first, then the servers. Data stays."""
        if STREAM in only:
            for daemon, queries in self.drivers():
                if daemon.stop(60):
                    say(f"stream    stopped ({', '.join(queries)})")
        broker = self.broker()
        if "kafka" in only:
            self._stop(self._own_kafka(broker.port if broker else 0), "kafka", [broker] if broker else [], say)
        if "postgres" in only:
            self._stop(self.databases()[0].own, "postgres", self._local_databases(), say)

    def _stop(self, own: Kafka | Postgres, name: str, servers: Sequence[Server], say: Callable[[str], None]) -> None:
        if stopped := own.stop():
            say(f"{name:<9} stopped")
        left = [server for server in servers if server.answers()]
        for server in left:
            say(f"{server.name:<9} external, left running  {server.address}")
        if servers and not left and not stopped:
            say(f"{name:<9} was not running")

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

    def servers(self) -> list[PartState]:
        """State of the servers, without starting anything."""
        broker = self.broker()
        states = [broker.state() if broker else PartState("kafka", "remote", self.settings.kafka.bootstrap_servers)]
        for server in self.databases():
            states.append(server.state() if server.host in LOOPBACK else PartState(server.name, "remote", server.address))
        return states

    def parts(self) -> list[PartState]:
        """State of every part, without starting anything."""
        states, lake = self.servers(), self.lake()
        drivers = self.drivers()
        states += [replace(running_state("stream", daemon), detail=f"({', '.join(queries)})") for daemon, queries in drivers]
        if not drivers:
            states.append(PartState("stream", "stopped", ""))
        if lake is None:
            states.append(PartState("lake", "remote", self.settings.lake.path))
        else:
            states.append(PartState("lake", "ok" if lake.is_dir() else "missing", str(lake)))
        return states


def _was(started: bool) -> str:
    return "started        " if started else "already running"


def _require_one_server(databases: Sequence[Database]) -> None:
    """Refuse stores that would need two servers of this stack, or two users of its one."""
    if not databases:
        return
    if len(databases) > 1:
        first, other = databases
        raise StackError(
            f"hot and alerts are both local, but on ports {first.port} and {other.port}, where no PostgreSQL of yours answers",
            "start yours, or give both sections the same port, user and password (the local stack is one server)",
        )
    if not databases[0].one_login():
        raise StackError(
            f"hot and alerts are both local on port {databases[0].port}, but with different users or passwords",
            "give both sections the same user and password (the local stack is one server with one user)",
        )

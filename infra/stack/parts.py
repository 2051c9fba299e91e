"""One server of the stack at its configured loopback address: whose it is, starting or using it, its state."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from enum import Enum

import psutil

from infra.config import Settings
from infra.errors import FlowlakeError, StackError
from infra.process import Daemon, port_owner
from infra.sections import PostgresSettings
from infra.stack import external, kafka, postgres
from infra.stack.kafka import Kafka
from infra.stack.postgres import Postgres

#: Hosts at which the stack's own servers can be reached: they listen on 127.0.0.1 alone.
_SERVED = frozenset({"127.0.0.1", "localhost"})


class Whose(Enum):
    """Who serves at an address."""

    STACK = "a server that this stack started"
    EXTERNAL = "a server of the right kind that somebody else runs"
    NOBODY = "no server of the right kind"


@dataclass(frozen=True)
class PartState:
    """State of one part, for people and programs.

    Parameters
    ----------
    name : str
        kafka, postgres (postgres-hot and postgres-alerts where those are two servers), stream or lake.
    state : str
        ready, running, starting or stopped; ``external``: a server on loopback that somebody else runs, used as it is; ``refused``: such
        a server does not let us in; ``remote``: on another machine, not looked at; of the lake: ok or missing.
    address : str
        ``host:port``, or the lake's place.
    pid, memory_mb, seconds : int, int, float or None
        Of what this stack runs: process id, memory with the children's (MiB), uptime (s).
    detail, hint : str
        What more there is to say, and the way out where something is wrong.
    """

    name: str
    state: str
    address: str
    pid: int | None = None
    memory_mb: int | None = None
    seconds: float | None = None
    detail: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Server(ABC):
    """One server at a loopback address of the settings.

    Parameters
    ----------
    name : str
        As in :class:`PartState`.
    host, port : str, int
        As the settings say.
    setting : str
        Name of the setting that the port came from.
    own : Kafka or Postgres
        This stack's server, as it would serve here.
    """

    name: str
    host: str
    port: int
    setting: str
    own: Kafka | Postgres

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def whose(self) -> Whose:
        """Who serves here; asks the network for two seconds at most."""
        if self.host in _SERVED and self.own.listens_on() == self.port:
            return Whose.STACK
        return Whose.EXTERNAL if self._speaks() else Whose.NOBODY

    def answers(self) -> bool:
        """Whether a server of the right kind serves here, whoever runs it."""
        whose = self.whose()
        return self.own.ready() if whose is Whose.STACK else whose is Whose.EXTERNAL

    def use(self) -> list[str]:
        """Log in at somebody else's server and create the databases that it lacks; returns their names.

        Raises
        ------
        BrokerError, StoreError
            It does not let us in, or not create them.
        """
        return self._admit(create=True)

    @abstractmethod
    def start(self) -> bool:
        """Start this stack's own server here; returns False when it ran already.

        Raises
        ------
        StackError
            It cannot be started, or not be reached at this address.
        """

    @abstractmethod
    def _speaks(self) -> bool:
        """Whether what listens here speaks the protocol."""

    @abstractmethod
    def _admit(self, *, create: bool) -> list[str]:
        """Log in; names of databases that were missing."""

    def _require_served(self, what: str) -> None:
        if self.host not in _SERVED:
            raise StackError(
                f"no {what} answers at {self.address}, and the one of this stack listens on 127.0.0.1 only",
                "start yours, or say 127.0.0.1 in the settings",
            )

    def _owner(self) -> str | None:
        """Who listens here; None when nobody does."""
        return port_owner(self.port, self.host if ":" in self.host else "127.0.0.1")

    def elsewhere(self) -> str:
        """That this stack's own server still runs on a port of earlier settings; empty when it does not."""
        port, process = self.own.listens_on(), self.own.daemon.process()
        if port is None or process is None or (port == self.port and self.host in _SERVED):
            return ""
        return f"this stack's own still runs on port {port}, pid {process.pid}; flowlake down stops it"

    def state(self) -> PartState:
        """What is here, without starting anything."""
        whose, elsewhere = self.whose(), self.elsewhere()
        if whose is Whose.STACK:
            running = running_state(self.name, self.own.daemon, self.address)
            return running if running.pid is None else replace(running, state="ready" if self.own.ready() else "starting")
        owner = self._owner()
        if whose is Whose.NOBODY:
            notes = [f"its port is taken by {owner}"] if owner else []
            hint = f"stop it, or choose another port with {self.setting}" if owner else ""
            if elsewhere:
                notes.append(elsewhere)
                hint = hint or "flowlake down, then flowlake up"
            return PartState(self.name, "stopped", self.address, detail=_in_brackets(notes), hint=hint)
        try:
            missing = self._admit(create=False)
        except FlowlakeError as e:
            return PartState(self.name, "refused", self.address, detail=_in_brackets([str(e)]), hint=e.hint)
        notes = [owner] if owner else []
        notes += [f"no database {name} yet; flowlake up creates it" for name in missing]
        return PartState(self.name, "external", self.address, detail=_in_brackets([*notes, *([elsewhere] if elsewhere else [])]))


@dataclass(frozen=True)
class Broker(Server):
    """The Kafka broker."""

    own: Kafka
    settings: Settings

    def start(self) -> bool:
        self._require_served("Kafka")
        if protocol := self._protected():
            raise StackError(
                f"no Kafka answers at {self.address}, and the one of this stack knows no {protocol} (kafka.security, kafka.sasl_username)",
                "start yours, or leave those settings out",
            )
        return self.own.start()

    def _speaks(self) -> bool:
        if "SSL" in self._protected().split("_"):
            # Asked in the clear, a TLS listener says nothing; logging in tells what it is.
            return self._owner() is not None
        return kafka.speaks(self.host, self.port)

    def _admit(self, *, create: bool) -> list[str]:
        external.admit_broker(self.settings, self._owner() or "another process")
        return []

    def _protected(self) -> str:
        """The security protocol that clients are told to use; empty for none."""
        section = self.settings.kafka
        protocol = section.security.get("security.protocol", "SASL_PLAINTEXT" if section.sasl_username else "").upper()
        return "" if protocol == "PLAINTEXT" else protocol


@dataclass(frozen=True)
class Database(Server):
    """A PostgreSQL server and the stores in it, by the sections of the settings that name it."""

    own: Postgres
    stores: dict[str, PostgresSettings] = field(default_factory=dict)

    def start(self) -> bool:
        self._require_served("PostgreSQL")
        started = self.own.start()
        for name in sorted({store.database for store in self.stores.values()}):
            self.own.create_database(name)
        return started

    def one_login(self) -> bool:
        """Whether all stores log in alike, as they must at this stack's own server."""
        return len({(store.user, store.password.get_secret_value()) for store in self.stores.values()}) == 1

    def _speaks(self) -> bool:
        return postgres.speaks(self.host, self.port)

    def _admit(self, *, create: bool) -> list[str]:
        missing = {s.database for name, s in self.stores.items() if external.admit_database(name, s, create=create)}
        return sorted(missing)


def running_state(name: str, daemon: Daemon, address: str = "") -> PartState:
    """State of a process that this stack started: running or stopped."""
    process = daemon.process()
    if process is None:
        return PartState(name, "stopped", address)
    try:
        family = [process, *process.children(recursive=True)]
        memory = sum(_private_bytes(member) for member in family)
        return PartState(name, "running", address, process.pid, memory >> 20, max(0.0, time.time() - process.create_time()))
    except psutil.Error:
        return PartState(name, "stopped", address)


def _in_brackets(notes: list[str]) -> str:
    return f"({'; '.join(notes)})" if notes else ""


def _private_bytes(process: psutil.Process) -> int:
    """Memory that is this process's alone plus its share of what is shared (PSS); RSS where that may not be read."""
    try:
        return int(getattr(process.memory_full_info(), "pss", 0) or process.memory_info().rss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0

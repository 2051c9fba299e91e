"""The local broker: Apache Kafka in KRaft mode, one process (broker and controller), on loopback."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from pathlib import Path

from infra import files
from infra.errors import StackError, one_line
from infra.jvm import jars, java
from infra.process import Daemon, free_port, require_port, require_same_port

LOG4J = Path(__file__).with_name("log4j2.xml")
HEAP_MB = 512


def speaks(host: str, port: int, timeout_s: float = 2.0) -> bool:
    """Whether what listens there answers an ApiVersions request: a Kafka broker, without TLS (a mere open port is not enough)."""
    # ApiVersions request v0: size, key 18, version 0, correlation id, client id "up" (Kafka protocol guide).
    body = b"\x00\x12\x00\x00\x00\x00\x00\x07\x00\x02up"
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as s:
            s.sendall(len(body).to_bytes(4, "big") + body)
            reply = s.recv(16)
    except OSError:
        return False
    return len(reply) >= 8 and reply[4:8] == b"\x00\x00\x00\x07"


@dataclass
class Kafka:
    """One broker.

    Parameters
    ----------
    dir : Path
        Folder of its data (``data/``), configuration, pid file and log. Data survives a restart.
    port : int
        Client port on 127.0.0.1. The controller's own port is any free one, chosen at each start.
    heap_mb : int
        Java heap, MiB.
    """

    dir: Path
    port: int
    heap_mb: int = HEAP_MB
    run_dir: Path | None = None
    log_dir: Path | None = None
    daemon: Daemon = field(init=False)

    def __post_init__(self) -> None:
        self.daemon = Daemon("kafka", self.run_dir or self.dir / "run", self.log_dir or self.dir / "logs")

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients."""
        return f"127.0.0.1:{self.port}"

    def running(self) -> bool:
        return self.daemon.process() is not None

    def ready(self) -> bool:
        """Whether a broker answers."""
        return speaks("127.0.0.1", self.port)

    def listens_on(self) -> int | None:
        """Port of the running broker, which is another than ``port`` when the settings were changed since; None when it does not run."""
        if not self.running():
            return None
        try:
            found = re.search(r"^listeners=PLAINTEXT://[^,]*:(\d+)", self.configuration.read_text(encoding="utf-8"), re.MULTILINE)
        except OSError:
            found = None
        return int(found[1]) if found else self.port

    def start(self, timeout_s: float = 60.0) -> bool:
        """Start and wait until it serves. Returns False when it ran already.

        Raises
        ------
        StackError
            No JDK, jars missing, port taken (names the owner), it runs on another port, or the broker ended: with the line of its log
            that says why.
        """
        if (port := self.listens_on()) is not None:
            require_same_port(port, self.port, "Kafka", "kafka.bootstrap_servers")
            self.daemon.wait_ready(self.ready, timeout_s)
            return False
        launcher = java.find()
        class_path = str(jars.folder("broker") / "*")
        jars.paths("broker")
        require_port(self.port, "Kafka", "kafka.bootstrap_servers")
        self._write_configuration()
        if not (self.dir / "data" / "meta.properties").is_file():
            self._format(launcher, class_path)
        options = [f"-Xms{self.heap_mb // 2}m", f"-Xmx{self.heap_mb}m", "-XX:+UseG1GC", "-XX:MaxDirectMemorySize=256m"]
        # C1 alone: beside a stream on a small machine the optimising compiler costs more in the first minutes than it saves.
        options.append("-XX:TieredStopAtLevel=1")
        options += ["-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true", f"-Dlog4j2.configurationFile={LOG4J.as_uri()}"]
        self.daemon.start(
            [str(launcher.path), *options, "-cp", class_path, "kafka.Kafka", self.configuration.name], env=_environment(), cwd=self.dir
        )
        self.daemon.wait_ready(self.ready, timeout_s)
        return True

    def stop(self, timeout_s: float = 30.0) -> bool:
        """Controlled shutdown; returns whether it ran."""
        return self.daemon.stop(timeout_s)

    @property
    def configuration(self) -> Path:
        return self.dir / "server.properties"

    def _write_configuration(self) -> None:
        controller = free_port()
        lines = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            # Relative to the working folder, which every call of Kafka is given: in a path of the user's, commas would make a list, and
            # a .properties file has escapes of its own.
            "log.dirs": "data",
            "num.partitions": "1",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "min.insync.replicas": "1",
            "group.initial.rebalance.delay.ms": "0",
            "message.max.bytes": str(16 * 1024 * 1024),
            "log.segment.bytes": str(128 * 1024 * 1024),
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
            # After a kill -9 the new process may register only when the old one's session has ended.
            "broker.session.timeout.ms": "6000",
            "broker.heartbeat.interval.ms": "1000",
            "num.network.threads": "2",
            "num.io.threads": "4",
        }
        try:
            self.dir.mkdir(parents=True, exist_ok=True)
            files.replace(self.configuration, "".join(f"{key}={value}\n" for key, value in lines.items()))
        except OSError as e:
            raise StackError(f"Kafka's folder {self.dir} cannot be written: {e.strerror}", "choose another with paths.var") from e

    def _format(self, launcher: java.Java, class_path: str) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        argv = [str(launcher.path), "-Xmx128m", f"-Dlog4j2.configurationFile={LOG4J.as_uri()}", "-cp", class_path]
        argv += ["kafka.tools.StorageTool", "format", "--standalone", f"--cluster-id={cluster}", "-c", self.configuration.name]
        done = subprocess.run(argv, capture_output=True, encoding="utf-8", errors="replace", env=_environment(), cwd=self.dir, timeout=120)
        if done.returncode != 0:
            words = (done.stdout + done.stderr).strip().splitlines()
            raise StackError(
                f"Kafka's storage {self.dir / 'data'} cannot be formatted: {one_line(words[-1]) if words else done.returncode}"
            )


def _environment() -> dict[str, str]:
    """Without options meant for other JVMs, and without secrets of ours."""
    kept = {k: v for k, v in os.environ.items() if k not in ("KAFKA_OPTS", "_JAVA_OPTIONS") and not k.startswith("FLOWLAKE_")}
    return kept | java.LOCALE

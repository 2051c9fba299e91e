"""A standalone Spark cluster for tests: a master and two workers as processes of their own, on loopback and free ports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path

import pyspark

from infra.config import ROOT
from infra.jvm import java
from infra.process import free_port

SPARK_HOME = Path(pyspark.__file__).parent
#: Processes that live for a minute: what the second compiler and a second collector's threads would cost them is never earned back.
SHORT_LIVED = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}


@dataclass
class Cluster:
    """Start with ``start``; ``stop`` ends every process it began, executors included (a worker takes its executors along)."""

    folder: Path
    workers: int = 2
    master: str = ""
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, patience_s: float = 60.0) -> None:
        """Returns when all workers have registered; RuntimeError with the logs when they do not."""
        port = free_port()
        self.master = f"spark://127.0.0.1:{port}"
        self._run("master", "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0")
        until = time.monotonic() + patience_s
        self._wait("master", rf"Starting Spark master at {re.escape(self.master)}", 1, until)
        for number in range(self.workers):
            folder = self.folder / f"worker-{number}"
            self._run(
                f"worker-{number}", "org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--webui-port", "0",
                "--cores", "1", "--memory", "1g", "--work-dir", str(folder), self.master,
            )  # fmt: skip
        self._wait("master", r"Registering worker", self.workers, until)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL; workers first, so that they end their executors."""
        for process in reversed(self._processes):
            process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _run(self, name: str, main: str, *arguments: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # Nothing of the project in reach: no PYTHONPATH, a working folder elsewhere, none of our settings.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith(("FLOWLAKE_", "PYSPARK_", "SPARK_"))}
        environment |= {"SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_SCALA_VERSION": "2.13"}
        environment |= SHORT_LIVED  # executors have it from their worker
        options = ["-Xmx256m", "-cp", f"{SPARK_HOME}/jars/*", f"-Dlog4j2.configurationFile=file:{self._log4j()}"]
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [str(java.find().path), *options, main, *arguments],
                    stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment, cwd=self.folder,
                )
            )  # fmt: skip

    def _log4j(self) -> Path:
        path = self.folder / "log4j2.properties"
        path.write_text(
            "rootLogger.level = info\nrootLogger.appenderRef.c.ref = c\nappender.c.type = Console\nappender.c.name = c\n"
            "appender.c.target = SYSTEM_ERR\nappender.c.layout.type = PatternLayout\nappender.c.layout.pattern = %p %c{1}: %m%n%ex\n"
        )
        return path

    def _wait(self, name: str, pattern: str, times: int, until: float) -> None:
        file = self.folder / f"{name}.log"
        while len(re.findall(pattern, file.read_text(errors="replace"))) < times:
            if time.monotonic() > until or any(p.poll() is not None for p in self._processes):
                logs = "\n".join(f"--- {f.name}\n{f.read_text(errors='replace')[-2000:]}" for f in sorted(self.folder.glob("*.log")))
                self.stop()
                raise RuntimeError(f"the standalone cluster did not come up\n{logs}")
            time.sleep(0.1)


def bare_python(folder: Path) -> Path:
    """An interpreter with the environment's packages but without its ``.pth`` files: an editable install of the project is not in reach."""
    wrapper = folder / "python-bare"
    site = sysconfig.get_path("purelib")
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    wrapper.write_text(f'#!/bin/sh\nPYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}{site}" exec "{base}" -S "$@"\n')
    wrapper.chmod(0o755)
    return wrapper


def environment(python: Path, **settings: str) -> dict[str, str]:
    """Environment of a submission: nothing of the caller's settings, workers and driver on the given interpreter."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("FLOWLAKE_", "PYSPARK_", "SPARK_"))}
    own |= {"FLOWLAKE_PYTHON": sys.executable, "FLOWLAKE_JARS": os.environ.get("FLOWLAKE_JARS", str(ROOT / "var" / "jars"))}
    own |= SHORT_LIVED
    return own | {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": str(python), "PYSPARK_DRIVER_PYTHON": str(python), **settings}


def submit(arguments: list[str], cwd: Path, environment: dict[str, str], timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run ``spark-submit.sh`` from another folder, to its end."""
    command = [str(ROOT / "spark-submit.sh"), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout_s)

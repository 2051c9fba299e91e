"""One background process with a pid file: started detached, found again later, stopped gracefully.

A pid file alone lies after a crash (stale) or a reboot (the pid now belongs to somebody else). Ours therefore holds the start time
of the process too; a pid whose process was born at another time is not ours and is never signalled.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from infra import files
from infra.errors import StackError, one_line

if TYPE_CHECKING:
    from infra.config import Settings

#: Seconds by which two readings of one process's start time may differ (the boot time they are derived from is adjusted by NTP).
START_TOLERANCE_S = 2.0


@dataclass(frozen=True)
class Daemon:
    """A named background process.

    Parameters
    ----------
    name : str
        Shown to people, and the stem of the pid and log files.
    run_dir, log_dir : Path
        Where ``<name>.pid`` and ``<name>.log`` lie.
    """

    name: str
    run_dir: Path
    log_dir: Path

    @property
    def pid_file(self) -> Path:
        return self.run_dir / f"{self.name}.pid"

    @property
    def log_file(self) -> Path:
        return self.log_dir / f"{self.name}.log"

    def process(self) -> psutil.Process | None:
        """The running process, or None: never started, ended, or the pid has been taken over by another process."""
        try:
            record = json.loads(self.pid_file.read_text(encoding="utf-8"))
            pid, created = int(record["pid"]), float(record["created"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - created) > START_TOLERANCE_S:
                return None
        except psutil.Error:
            return None
        return process

    def start(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> psutil.Process:
        """Start detached from this terminal; output is appended to the log file.

        Raises
        ------
        StackError
            The program cannot be started, or the folders cannot be written.
        """
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            self.log_dir.mkdir(parents=True, exist_ok=True)
            with self.log_file.open("ab") as log:
                child = subprocess.Popen(
                    list(argv),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=dict(env) if env is not None else None,
                    cwd=cwd,
                    start_new_session=True,
                )
        except OSError as e:
            raise StackError(f"{self.name} cannot be started: {e}", "flowlake doctor") from e
        process = psutil.Process(child.pid)
        # psutil knows nothing of our Popen, and a child may end long before anybody asks for it: it would stay a zombie of this process.
        _children[child.pid] = child
        threading.Thread(target=child.wait, name=f"end of {self.name}", daemon=True).start()
        self._note(process)
        return process

    def _note(self, process: psutil.Process) -> None:
        record = {"pid": process.pid, "created": process.create_time(), "name": self.name}
        files.replace(self.pid_file, json.dumps(record))

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """While inside, the calling process is this one: others find it, stop it, and do not start a second.

        Raises
        ------
        StackError
            Another process is it already.
        """
        other = self.process()
        if other is not None and other.pid != os.getpid():
            told = self.name.replace("-", " ")
            raise StackError(f"{told} runs already (pid {other.pid})", "flowlake status shows it, flowlake down stops it")
        with suppress(OSError):  # a folder that cannot be written has other, clearer complaints
            self.run_dir.mkdir(parents=True, exist_ok=True)
            self._note(psutil.Process())
        try:
            yield
        finally:
            mine = self.process()
            if mine is not None and mine.pid == os.getpid():
                self.pid_file.unlink(missing_ok=True)

    def wait_ready(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until ``ready()``; give up when the process ends or the time is over.

        Raises
        ------
        StackError
            With the last line of the log that says why.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            answers = ready()
            # Asked in this order: a server that found its port taken has ended, and what answers there is another.
            if self.process() is None:
                self.pid_file.unlink(missing_ok=True)
                raise StackError(f"{self.name} ended while starting: {self.last_words()}", f"the whole log: {self.log_file}")
            if answers:
                return
            if time.monotonic() > deadline:
                raise StackError(
                    f"{self.name} is not ready after {timeout_s:.0f} s: {self.last_words()}", f"the whole log: {self.log_file}"
                )
            time.sleep(0.1)

    def stop(self, timeout_s: float = 30.0, *, signal: int | None = None) -> bool:
        """Ask the process to end (SIGTERM unless told otherwise), kill it with its children after ``timeout_s``.

        Returns whether there was one to stop.
        """
        process = self.process()
        if process is None:
            self.pid_file.unlink(missing_ok=True)
            return False
        family = [process, *_descendants(process)]
        try:
            if signal is None:
                process.terminate()
            else:
                process.send_signal(signal)
            _reap(process.pid, process, timeout_s)
        except psutil.NoSuchProcess:
            pass
        for member in family:
            try:
                if member.is_running() and member.status() != psutil.STATUS_ZOMBIE:
                    member.kill()
                    member.wait(10)
            except psutil.Error:
                pass
        self.pid_file.unlink(missing_ok=True)
        return True

    def last_words(self) -> str:
        """The line of the log's end that most likely says what went wrong."""
        lines = tail(self.log_file, 40)
        telling = [line for line in lines if any(word in line for word in ("FATAL", "ERROR", "Exception", "rror:"))]
        return one_line((telling or lines or ["the log is empty"])[-1], 400)


def query(settings: Settings, name: str) -> Daemon:
    """The driver that runs a query on this machine."""
    var = settings.path(settings.paths.var)
    return Daemon(f"query-{name}", var / "run", var / "logs")


_children: dict[int, subprocess.Popen[bytes]] = {}


def _reap(pid: int, process: psutil.Process, timeout_s: float) -> None:
    child = _children.pop(pid, None)
    try:
        if child is not None:
            child.wait(timeout_s)
        else:
            process.wait(timeout_s)
    except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
        pass


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def tail(file: Path, lines: int) -> list[str]:
    """The last ``lines`` lines of a file, read from its end; none when it cannot be read."""
    if lines <= 0:
        return []
    try:
        with file.open("rb") as f:
            position = f.seek(0, os.SEEK_END)
            data = b""
            while position > 0 and data.count(b"\n") <= lines:
                step = min(65_536, position)
                position -= step
                f.seek(position)
                data = f.read(step) + data
    except OSError:
        return []
    return [line.decode("utf-8", "replace") for line in data.splitlines()[-lines:]]


def port_owner(port: int, host: str = "127.0.0.1") -> str | None:
    """Who listens on ``host:port``: ``"java (pid 123)"``, ``"another process"`` when it cannot be seen, None when the port is free."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            return "the system (ports below 1024 need root)"
        except OSError:
            pass
        else:
            return None
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return "another process (of another user, or in another container)"


def require_port(port: int, what: str, setting: str, host: str = "127.0.0.1") -> None:
    """Raise a StackError that names the owner when the port is taken."""
    owner = port_owner(port, host)
    if owner is not None:
        raise StackError(f"port {port} for {what} is taken by {owner}", f"stop it, or choose another port with {setting}")


def require_same_port(running: int, port: int, what: str, setting: str) -> None:
    """Raise a StackError when this stack's server runs, but on another port than the settings say by now."""
    if running != port:
        raise StackError(
            f"{what} of this stack runs on port {running}, and none answers on port {port} of the settings ({setting})",
            f"flowlake down, then flowlake up; or set {setting} back to {running}",
        )


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.bind((host, 0))
        return int(s.getsockname()[1])

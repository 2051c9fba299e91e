"""Background processes: pid files that lie, busy ports, ends that are not clean."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from infra.errors import StackError
from infra.process import Daemon, free_port, port_owner, require_port, tail

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"]


@pytest.fixture
def daemon(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Daemon("part", tmp_path / "run", tmp_path / "logs")
    yield made
    made.stop(2)


def test_started_process_is_found_again_by_another_object(daemon: Daemon) -> None:
    started = daemon.start(SLEEP)
    found = Daemon("part", daemon.run_dir, daemon.log_dir).process()
    assert found is not None
    assert found.pid == started.pid


def test_stop_ends_it_and_removes_the_pid_file(daemon: Daemon) -> None:
    pid = daemon.start(SLEEP).pid
    assert daemon.stop(10)
    assert not psutil.pid_exists(pid)
    assert not daemon.pid_file.exists()
    assert not daemon.stop()


def test_what_ignores_the_signal_is_killed(daemon: Daemon) -> None:
    process = daemon.start(STUBBORN)
    daemon.wait_ready(lambda: "up" in tail(daemon.log_file, 1), 20)
    assert daemon.stop(0.2)
    assert not process.is_running()


def zombies() -> list[str]:
    """Ended children of this process that nobody has waited for."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if child.status() == psutil.STATUS_ZOMBIE:
                found.append(str(child))
    return found


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize("program", ["pass", "raise SystemExit(3)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_ends_by_itself_leaves_no_zombie(daemon: Daemon, program: str) -> None:
    """As the demo's model and sensor do, long before the demo ends; nobody asks for them meanwhile."""
    pid = daemon.start([sys.executable, "-c", program]).pid
    assert until(lambda: not psutil.pid_exists(pid))
    assert zombies() == []
    assert daemon.stop() is False


def test_what_ends_while_starting_leaves_no_zombie(daemon: Daemon) -> None:
    pid = daemon.start([sys.executable, "-c", "pass"]).pid
    with pytest.raises(StackError, match="ended while starting"):
        daemon.wait_ready(lambda: False, 20)
    assert until(lambda: not psutil.pid_exists(pid))


def test_what_is_killed_leaves_no_zombie(daemon: Daemon) -> None:
    family = [*STUBBORN[:2], f"import subprocess, sys; subprocess.Popen({SLEEP!r}); {STUBBORN[2]}"]
    daemon.start(family)
    daemon.wait_ready(lambda: "up" in tail(daemon.log_file, 1), 20)
    assert daemon.stop(0.2)
    assert zombies() == []


def test_pid_file_of_a_process_that_has_gone(daemon: Daemon) -> None:
    daemon.start(SLEEP)
    record = daemon.pid_file.read_text()
    daemon.stop(10)
    daemon.pid_file.write_text(record)
    assert daemon.process() is None


def test_pid_taken_over_by_another_process_is_never_signalled(daemon: Daemon) -> None:
    """The pid in the file is this test's own, the start time is not: stopping must leave us alive."""
    daemon.run_dir.mkdir(parents=True)
    daemon.pid_file.write_text(json.dumps({"pid": os.getpid(), "created": psutil.Process().create_time() - 3600}))
    assert daemon.process() is None
    assert daemon.stop() is False
    assert not daemon.pid_file.exists()


@pytest.mark.parametrize("text", ["", "123", "not json", '{"pid": "x"}', "[]"])
def test_unreadable_pid_file_is_as_none(daemon: Daemon, text: str) -> None:
    daemon.run_dir.mkdir(parents=True)
    daemon.pid_file.write_text(text)
    assert daemon.process() is None


def test_a_process_can_claim_a_name_and_another_is_told(daemon: Daemon) -> None:
    with daemon.claimed():
        found = daemon.process()
        assert found is not None
        assert found.pid == os.getpid()
    assert daemon.process() is None
    assert not daemon.pid_file.exists()
    other = daemon.start(SLEEP)
    with pytest.raises(StackError, match=rf"part runs already \(pid {other.pid}\)"), daemon.claimed():
        pass
    assert daemon.process() is not None, "the other one goes on"


def test_a_claim_is_taken_over_from_a_process_that_was_killed(daemon: Daemon) -> None:
    killed = daemon.start(SLEEP)
    killed.kill()
    killed.wait(5)
    with daemon.claimed():
        found = daemon.process()
        assert found is not None
        assert found.pid == os.getpid()


def test_end_while_starting_is_reported_with_the_reason(daemon: Daemon) -> None:
    daemon.start([sys.executable, "-c", "import sys; sys.exit('FATAL: disk on fire')"])
    with pytest.raises(StackError, match="disk on fire"):
        daemon.wait_ready(lambda: False, 30)


def test_program_that_does_not_exist(daemon: Daemon) -> None:
    with pytest.raises(StackError, match="part cannot be started"):
        daemon.start(["/nonexistent/program"])


def test_busy_port_names_its_owner() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        assert f"(pid {os.getpid()})" in str(port_owner(port))
        with pytest.raises(StackError, match=rf"port {port} for Kafka is taken by .*\(pid {os.getpid()}\)") as failure:
            require_port(port, "Kafka", "kafka.bootstrap_servers")
        assert "kafka.bootstrap_servers" in failure.value.hint


def test_free_port_has_no_owner() -> None:
    assert port_owner(free_port()) is None


def test_tail_reads_across_blocks(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("".join(f"line {i} {'x' * 100}\n" for i in range(2000)))
    lines = tail(file, 1500)
    assert len(lines) == 1500
    assert lines[0].startswith("line 500 ")
    assert lines[-1].startswith("line 1999 ")
    assert tail(file, 0) == []
    assert tail(tmp_path / "none", 5) == []


def test_a_process_that_ended_is_not_ready_because_another_answers(daemon: Daemon) -> None:
    """Its port was taken by another between the look and the start: it ends, and what answers is not it."""
    process = daemon.start([sys.executable, "-c", "import sys; sys.exit('FATAL: address in use')"])

    def another_answers() -> bool:
        process.wait(20)
        return True

    with pytest.raises(StackError, match="address in use"):
        daemon.wait_ready(another_answers, 30)


def test_owner_of_an_ipv6_port() -> None:
    with socket.socket(socket.AF_INET6) as s:
        try:
            s.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        s.listen()
        port = s.getsockname()[1]
        assert f"(pid {os.getpid()})" in str(port_owner(port, "::1"))

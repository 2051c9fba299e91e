"""Logging: levels, JSON, masking."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from infra import log
from infra.config import ROOT
from infra.sections import LogSettings


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def test_json_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup(LogSettings(format="json"))
    log.get("jobs.test").info("batch written", rows=3)
    out, err = capsys.readouterr()
    event = json.loads(err)
    assert out == ""
    assert (event["event"], event["rows"], event["level"], event["logger"]) == ("batch written", 3, "info", "jobs.test")


def test_a_process_that_set_nothing_up_logs_on_stderr() -> None:
    """What a command prints may be JSON; a thread that warns must not get between."""
    words = "from infra import log; log.get('jobs.test').warning('told', n=1)"
    done = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
    assert "told" in done.stderr


def test_secrets_are_masked(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup(LogSettings(format="json"))
    log.get("jobs.test").info("connect", password="hunter2", key=SecretStr("hunter2"), options={"sasl_password": "hunter2", "user": "u"})
    err = capsys.readouterr().err
    assert "hunter2" not in err
    assert json.loads(err)["options"]["user"] == "u"


def test_stack_traces_show_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    """They may hold a password that no key names."""
    log.setup(LogSettings())
    try:
        given = "hunter" + str(len("ab"))
        raise ValueError(f"{len(given)} characters")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("a request failed")
    err = capsys.readouterr().err
    assert "ValueError: 7 characters" in err
    assert "hunter2" not in err


def test_level_and_foreign_loggers(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup(LogSettings(level="warning", format="json"))
    log.get("jobs.test").info("hidden")
    logging.getLogger("py4j").info("hidden")
    logging.getLogger("kafka.conn").warning("hidden: kafka-python warns of ordinary things")
    logging.getLogger("py4j").warning("shown")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["shown"]


@pytest.mark.parametrize("name", ["driver", "sink.lake", "hot.maintenance", "jobs.sinks.hot", "flowlake.x"])
def test_every_part_of_ours_is_heard_at_the_configured_level(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    log.setup(LogSettings(format="json"))
    log.get(name).info("done")
    event = json.loads(capsys.readouterr().err)
    assert (event["event"], event["logger"].removeprefix("flowlake.")) == ("done", name.removeprefix("flowlake."))


def test_setup_twice_logs_once(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup(LogSettings())
    log.setup(LogSettings(format="json"))
    log.get("jobs.test").warning("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_ctrl_c_within_a_call_to_the_jvm_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """As py4j does it, on the root logger; whoever called hears of it as an exception."""
    log.setup(LogSettings())
    for error in (KeyboardInterrupt, ValueError):
        try:
            raise error("within a call")
        except BaseException:
            logging.exception("while sending %s", error.__name__)
    shown = capsys.readouterr().err
    assert "while sending ValueError" in shown
    assert "while sending KeyboardInterrupt" not in shown

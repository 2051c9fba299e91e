"""The command line: dispatch, help, one-line failures, exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra import config
from ops.cli import main as cli

COMMANDS = cli.commands(config.catalogue())
SOURCES = [name for name, group in COMMANDS.items() if not group.target]
Adding = Callable[..., None]
SOME = "ops.cli.sources:sources"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return int(ended.value.code or 0)


def test_without_a_word_it_is_the_overview(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert "Usage: flowlake" in capsys.readouterr().out


def test_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)
    assert "flowlake up" in out


def test_overview_imports_no_command() -> None:
    heavy = "('typer', 'pyspark', 'pandas', 'numba', 'sklearn', 'kafka')"
    code = f"import sys; from ops.cli import main; main.run(['--help']); print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    out = capsys.readouterr().out
    assert "Usage: flowlake" in out
    if "COMMAND [ARGS]" not in out:
        assert f"flowlake {name}" in out.split("\n", 2)[2], "no example"


def helps(command: Any, path: str) -> Iterator[tuple[str, str]]:
    """Of a command and all below it: path and help."""
    context = command.make_context(path, [], resilient_parsing=True)
    yield path, command.get_help(context)
    for name, below in getattr(command, "commands", {}).items():
        yield from helps(below, f"{path} {name}")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in SOURCES])
def test_help_is_for_a_terminal(name: str) -> None:
    """No markup of docstrings, and no metavar whose dots Typer adds once more."""
    for path, text in helps(cli.load(name, COMMANDS), f"flowlake {name}"):
        assert not re.search(r"``|:\w+:`|\.\.\.[}\]]\.\.\.|\.{4}", text), f"{path}:\n{text}"


@pytest.mark.parametrize("name", SOURCES)
def test_the_commands_of_a_source_are_a_group(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for below in COMMANDS[name].below:
        assert run(name, below, "--help") == 0
        assert f"Usage: flowlake {name} {below}" in capsys.readouterr().out
    assert run(name, "nonsense") == 2


@pytest.fixture
def adding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Adding:
    """Let there be a further source, whose commands are given: ``name, group, target`` of each."""

    def add(*given: tuple[str, str, str]) -> None:
        package = f"p{uuid.uuid4().hex[:8]}"
        made = ", ".join(f"Command({name!r}, {target!r}, 'Added.', group={group!r})" for name, group, target in given)
        text = f"from infra.sources import Command, Source\nSOURCE = Source('adding', 'Adds.', {{}}, (), (), (), ({made},))"
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
        (tmp_path / package / "source.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setenv("FLOWLAKE_SOURCES__PACKAGES", json.dumps(["jobs.sources", package]))

    return add


def test_a_source_adds_to_the_group_of_another(adding: Adding, capsys: pytest.CaptureFixture[str]) -> None:
    adding(("added", "sensor", SOME), ("more", "own-group", SOME))
    assert run("sensor", "--help") == 0
    shown = capsys.readouterr().out
    assert " replay " in shown
    assert " added " in shown
    assert run("sensor", "added", "--json") == 0
    told = {source["name"]: source for source in json.loads(capsys.readouterr().out)}
    assert told["adding"]["commands"] == ["flowlake sensor added", "flowlake own-group more"]
    assert run("sensor", "added", "--nonsense") == 2
    assert "see: flowlake sensor added --help" in capsys.readouterr().err
    assert run("own-group", "--help") == 0
    assert "Commands of the source adding." in capsys.readouterr().out
    assert run("own-group", "more", "--json") == 0
    assert run("adding") == 2  # it has no command of its own


@pytest.mark.parametrize(
    ("name", "group", "told"), [("replay", "sensor", "'replay'.*to flowlake sensor"), ("added", "meter", "'added'.*to flowlake meter")]
)
def test_what_cannot_be_added_is_told(name: str, group: str, told: str, adding: Adding, capsys: pytest.CaptureFixture[str]) -> None:
    adding((name, group, SOME))
    assert run(group, "--help") == 2
    assert re.search(told, capsys.readouterr().err)


def test_unknown_command_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("statsu") == 2
    assert capsys.readouterr().err == "error: no command 'statsu'\n  did you mean: flowlake status\n"


def test_unknown_option_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "show", "--colour") == 2
    err = capsys.readouterr().err
    assert "--colour" in err
    assert len(err.splitlines()) == 2


def test_known_failure_has_its_exit_code_and_no_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "show", "--conf-file", "/nonexistent.yaml") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: configuration file /nonexistent.yaml")
    assert "Traceback" not in err


def test_debug_anywhere_shows_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "show", "--conf-file", "/nonexistent.yaml", "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.slow
def test_absent_broker_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert run("topics") == 4
    err = capsys.readouterr().err
    assert "127.0.0.1:1" in err
    assert "flowlake up" in err
    assert len(err.splitlines()) == 2


def test_config_show_masks_secrets(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWLAKE_HOT__PASSWORD", "hunter2")
    monkeypatch.setenv("FLOWLAKE_KAFKA__SECURITY", json.dumps({"sasl.jaas.config": "x password=hunter2", "security.protocol": "SASL_SSL"}))
    monkeypatch.setenv("FLOWLAKE_SCORING__TRACKING_URI", "postgresql://mlflow:hunter2@db/mlflow")
    assert run("config", "show", "--json") == 0
    out = capsys.readouterr().out
    shown = json.loads(out)
    assert "hunter2" not in out
    assert shown["hot"]["password"] == "********"
    assert shown["alerts"]["password"] == ""
    assert shown["kafka"]["security"]["security.protocol"] == "SASL_SSL"
    assert shown["scoring"]["tracking_uri"] == "postgresql://mlflow:********@db/mlflow"


def test_config_show_as_yaml_can_be_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    from infra import config

    assert run("config", "show") == 0
    assert config.build(**yaml.safe_load(capsys.readouterr().out)) == config.load()


def test_logs_of_an_unknown_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("logs", "kafak") == 2
    assert "kafka, postgres, spark" in capsys.readouterr().err


def test_doctor_names_the_wrong_jdk(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from tests.unit.infra.test_java import fake_java

    fake_java(tmp_path / "bin", 'openjdk version "11.0.2"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert run("doctor", "--json") == 1
    findings = {f["check"]: f for f in json.loads(capsys.readouterr().out)}
    assert findings["JDK"]["state"] == "missing"
    assert "11.0.2" in findings["JDK"]["detail"]
    assert findings["JDK"]["mend"]
    assert findings["python"]["state"] == "ok"


def test_doctor_says_whether_filters_can_be_compiled() -> None:
    from ops.cli.doctor import check_filters

    assert check_filters().state == "ok"


def test_doctor_says_how_to_get_a_compiler_of_filters(tmp_path: Path) -> None:
    (tmp_path / "pcapy.py").write_text("raise ImportError('libpcap.so.1: cannot open shared object file')")
    program = "from ops.cli.doctor import check_filters as c; f = c(); print(f.state, f.detail, f.mend, sep='|')"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    state, detail, mend = done.stdout.strip().split("|")
    assert state == "warning"
    assert "libpcap.so.1: cannot open" in detail
    assert "make setup" in mend

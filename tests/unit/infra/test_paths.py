"""Folders that are refused, by name and before anything is written; what works is run by ``tests/e2e/test_odd_paths.py``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra import config, paths
from infra.config import ROOT, Settings
from infra.errors import ConfigError
from infra.jvm import jars
from jobs.runtime import session, submit
from jobs.training.sources import TrainingData, load
from ops.cli import main as cli

Factory = Callable[..., Settings]


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    assert ended.value.code == 2
    return capsys.readouterr().err


LAKES = [("feature%2Fx", "%2F"), ("a%20b", "%20"), ("a\\b", "\\\\"), ("a`b", "`"), ("a${b}", "${")]


@pytest.mark.parametrize(("name", "told"), LAKES)
@pytest.mark.parametrize("command", [["up"], ["stream"], ["stream", "--only", "lake"], ["flows"]], ids=" ".join)
def test_a_lake_that_delta_cannot_keep(
    command: list[str],
    name: str,
    told: str,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FLOWLAKE_LAKE__PATH", str(tmp_path / name / "flows"))
    said = fails(capsys, *command)
    assert f"lake.path: {str(tmp_path / name / 'flows')!r}" in said
    assert f"'{told}'" in said
    assert "FLOWLAKE_LAKE__PATH=" in said
    assert list(home.iterdir()) == []
    assert not (tmp_path / name).exists()


def test_a_lake_is_no_matter_where_no_query_writes_one(settings: Factory) -> None:
    odd = settings(lake={"path": "a%2Fb"})
    paths.check_settings(odd, lake=False)
    paths.check_settings(settings(lake={"path": "s3a://bucket/a%2Fb"}, paths={"checkpoints": "s3a://bucket/`${a}"}))
    with pytest.raises(ConfigError, match=r"lake\.path: "):
        paths.check_settings(odd)


@pytest.mark.parametrize("path", ["s3a:/x", "s3:/bucket/flows", "s3a:bucket", "S3A:/x", "gs:/b/x", "s3a://", "s3a:///flows"])
def test_a_bucket_written_wrong_is_no_folder(settings: Factory, path: str) -> None:
    for section in ({"lake": {"path": path}}, {"lake": {"tables": {"flows": path}}}, {"archive": {"path": path}}):
        with pytest.raises(ValueError, match="bucket"):
            settings(**section)


def test_the_demo_has_its_lake_below_var(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FLOWLAKE_HOME", str(home / "feature%2Fx"))
    said = fails(capsys, "demo")
    assert "feature%2Fx" in said
    assert "FLOWLAKE_PATHS__VAR=" in said
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a\nb", r"'\\n' in it"),
        ("a\x7fb", r"'\\x7f' in it"),
        (os.fsdecode(b"a\xffb"), "not UTF-8"),
        ("a${b}", r"'\$\{' in it"),
        ("x/" * 500, "too long"),
    ],
    ids=["newline", "delete", "bytes", "variable", "long"],
)
def test_a_home_that_nothing_can_work_in(
    name: str, told: str, settings: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLOWLAKE_HOME", str(tmp_path / "new" / name))
    with pytest.raises(ConfigError, match=told):
        paths.check_settings(settings())
    assert "paths.var" in fails(capsys, "up")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["a b", "ü 日本 😀", "50% off", "k=v", "a:b,c;d", 'it\'s "x"', "$HOME", "[1]{2}*?#&", " b "])
def test_what_works_is_not_refused(name: str, settings: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWLAKE_HOME", str(tmp_path / name))
    given = settings()
    paths.check_settings(given)
    assert given.path(given.paths.var).is_relative_to(tmp_path / name)
    assert not (tmp_path / name).exists()  # looked at only


def test_names_are_not_misread_where_the_locale_cannot_say_them(tmp_path: Path) -> None:
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "FLOWLAKE_HOME": str(tmp_path / "ü")}
    argv = [sys.executable, "-m", "ops.cli.main", "up"]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 2
    assert "file names are read as ascii" in done.stderr
    assert "LC_ALL=C.UTF-8" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_the_terminal_cannot_say_is_still_told(home: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "FLOWLAKE_HOME": str(home / "ü")}
    argv = [sys.executable, "-m", "ops.cli.main", "logs"]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=60)
    assert "there are no logs yet" in done.stderr
    argv = [sys.executable, "-m", "ops.cli.main", "status", "--conf-file", str(ROOT / "conf" / "local.yaml")]
    environment |= {"FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    assert "\\xfc" in done.stdout


@pytest.mark.parametrize("setting", ["lake.path", "paths.var", "paths.checkpoints", "scoring.artifact_root"])
def test_a_file_uri_is_the_path_it_means(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    section, name = setting.split(".")
    monkeypatch.setenv(paths.variable(setting), Path("/a b/ü%2F?#x").as_uri())
    assert getattr(getattr(config.load(), section), name) == "/a b/ü%2F?#x"
    monkeypatch.setenv(paths.variable(setting), "~/flows")
    assert getattr(getattr(config.load(), section), name) == str(Path.home() / "flows")


@pytest.mark.parametrize("value", ["file:///a#b/flows", "file:///a?b/flows", "file://host/flows", " ", "a\nb", "file:///a%0Ab", "a\x01b"])
@pytest.mark.parametrize("setting", ["lake.path", "paths.var", "paths.checkpoints", "scoring.artifact_root"])
def test_a_setting_that_is_no_folder(setting: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(paths.variable(setting), value)
    with pytest.raises(ConfigError, match=rf"environment variable {paths.variable(setting)}: {setting}: (empty|'\S)"):
        config.load()


@pytest.mark.parametrize("name", ["feature%2Fx/m.db", "a?b/m.db", "a#b/m.db", "a%20b.db", "x?a/b"])
def test_a_registry_whose_name_would_be_read_in_another_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWLAKE_SCORING__TRACKING_URI", f"sqlite:////builds/{name}")
    with pytest.raises(ConfigError, match="in this URI '%' is written %25"):
        config.load()


@pytest.mark.parametrize(
    ("uri", "file", "url"),
    [
        ("sqlite:////b/f%252Fx%3F%23.db", "/b/f%2Fx?#.db", "sqlite+pysqlite:////b/f%252Fx%3F%23.db"),
        ("sqlite:////b/a ü%.db?timeout=9", "/b/a ü%.db", "sqlite+pysqlite:////b/a%20%C3%BC%25.db?timeout=9"),
        ("sqlite+pysqlite:////b/m.db", "/b/m.db", "sqlite+pysqlite:////b/m.db"),
    ],
)
def test_a_registry_is_read_as_sqlalchemy_reads_it(uri: str, file: str, url: str, settings: Factory) -> None:
    from sqlalchemy import make_url

    made = settings(scoring={"tracking_uri": uri})
    assert paths.registry_file(made) == Path(file)
    assert paths.registry_uri(made) == url
    assert make_url(url).database == file


def test_jars_stand_in_a_class_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWLAKE_JARS", str(tmp_path / "a:b"))
    with pytest.raises(ConfigError, match=r"FLOWLAKE_JARS: .*a:b' cannot be used: ':' in it"):
        jars.folder("broker")


@pytest.mark.parametrize("character", list(",:#?*[{\\"))
def test_what_spark_submit_takes_apart(character: str, settings: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWLAKE_HOME", str(tmp_path / f"a{character}b"))
    with pytest.raises(ConfigError, match=r"paths\.var: .* spark-submit"):
        submit.command(submit.parse(["sink_lake"]))
    with pytest.raises(ConfigError, match=r"paths\.var: .* spark-submit"):
        session.launch_properties(settings(), "spark://h:7077")
    assert not (tmp_path / f"a{character}b").exists()


def test_files_that_spark_submit_takes_apart(home: Path, tmp_path: Path) -> None:
    for name in ("a,b.py", "a#b.gz", "a[b].yaml"):
        (tmp_path / name).write_text("")
    job, archive, conf = (str(tmp_path / name) for name in ("a,b.py", "a#b.gz", "a[b].yaml"))
    for origin, arguments in {
        f"job {job}": [job],
        "--python-env": ["sink_lake", "--python-env", archive],
        "--conf-file": ["sink_lake", "--conf-file", conf, "--master", "yarn", "--deploy-mode", "cluster"],
    }.items():
        with pytest.raises(ConfigError, match=f"^{re.escape(origin)}: .* spark-submit"):
            submit.command(submit.parse(arguments))


def test_options_of_the_jvm_hold_nothing_that_its_launcher_would_take_apart(
    settings: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "a b'\"\\😀 50%"
    monkeypatch.setenv("FLOWLAKE_HOME", str(home))
    made = settings()
    assert all(option.startswith("-") and option.isascii() for option in session.jvm_options(made).split(" "))
    environment = session.jvm_environment(made)
    assert environment["SPARK_DRIVER_LOG"] == str(home / "var" / "logs" / "spark.log")
    assert environment["SPARK_DRIVER_LOG_PATTERN"].endswith("50%%/var/logs/spark.log.%i")


def test_labelled_records_are_not_looked_for_elsewhere(settings: Factory, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--records: .*'%2F' in it"):
        load(settings(), TrainingData("lake", (str(tmp_path / "a%2Fb"),), labels=tmp_path / "truth.parquet"))


@pytest.mark.parametrize("name", ["a:b", 'a"b', "a$b", "a`b", "a\\b"])
def test_an_environment_that_a_shell_could_not_start(name: str, tmp_path: Path) -> None:
    venv = tmp_path / name / "venv"
    environment = os.environ | {"FLOWLAKE_VENV": str(venv)}
    argv = [sys.executable, "infra/bootstrap.py"]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 2
    assert f"FLOWLAKE_VENV: {str(venv)!r} cannot be used" in done.stderr
    assert list(tmp_path.iterdir()) == []

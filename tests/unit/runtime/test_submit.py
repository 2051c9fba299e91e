"""The command that ``spark-submit.sh`` becomes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.config import ROOT
from infra.errors import ConfigError
from jobs.runtime import submit


@pytest.fixture
def job(tmp_path: Path, home: Path) -> str:
    file = tmp_path / "job.py"
    file.write_text("")
    return str(file)


@pytest.fixture(autouse=True)
def _jars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jars by name only: what is in them does not matter here."""
    from infra.jvm import jars

    folder = tmp_path / "jars"
    for section in ("spark", "s3"):
        (folder / section).mkdir(parents=True)
        for jar in jars.section(section) if section in jars.sections() else ():
            (folder / section / jar.file).touch()
    monkeypatch.setenv("FLOWLAKE_JARS", str(folder))


def value(argv: list[str], option: str) -> str:
    assert argv.count(option) == 1, argv
    return argv[argv.index(option) + 1]


def test_ships_code_jars_and_configuration(job: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYSPARK_PYTHON", raising=False)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:/mine")
    what = submit.command(submit.parse([job, "--master", "spark://h:7077", "--", "--flag", "x"]))
    assert what.argv[0].endswith("bin/spark-submit")
    assert value(what.argv, "--master") == "spark://h:7077"
    assert value(what.argv, "--py-files").startswith(str(home / "var" / "submit" / "flowlake-"))
    assert any("delta-spark" in jar for jar in value(what.argv, "--jars").split(","))
    assert what.argv[-3:] == [job, "--flag", "x"]
    assert what.environment["FLOWLAKE_CONF"] == str(ROOT / "conf" / "local.yaml")
    assert what.environment["PYSPARK_PYTHON"] == sys.executable
    # The driver imports what the workers import: the zip comes first, the project's own folder is out of reach.
    assert what.environment["PYTHONPATH"].split(":") == [value(what.argv, "--py-files"), "/mine"]


def test_jars_are_loaded_in_place_on_this_machine(job: str) -> None:
    argv = submit.command(submit.parse([job])).argv
    assert "--jars" not in argv
    assert "delta-spark" in value(argv, "--driver-class-path")
    assert value(argv, "--master") == "local[4]"


def test_options_of_the_submitter_pass_and_lists_are_joined(job: str) -> None:
    extra = ["--num-executors", "3", "--jars", "mine.jar", "--py-files=mine.zip", "--driver-memory", "3g", "--conf", "spark.app.name=mine"]
    argv = submit.command(submit.parse([job, "--master", "yarn", *extra])).argv
    assert value(argv, "--num-executors") == "3"
    assert value(argv, "--jars").endswith(",mine.jar")
    assert value(argv, "--py-files").endswith(".zip,mine.zip")
    assert value(argv, "--driver-memory") == "3g"
    assert "--name" not in argv


def test_driver_on_the_cluster_gets_its_configuration_shipped(job: str, tmp_path: Path) -> None:
    conf, packed = tmp_path / "c.yaml", tmp_path / "env.tar.gz"
    conf.write_text("{}")
    packed.touch()
    request = submit.parse([job, "--master", "yarn", "--deploy-mode", "cluster", "--conf-file", str(conf), "--python-env", str(packed)])
    argv = submit.command(request).argv
    assert value(argv, "--files") == str(conf)
    assert value(argv, "--archives") == f"{packed}#environment"
    assert "spark.yarn.appMasterEnv.FLOWLAKE_CONF=c.yaml" in argv
    assert "spark.pyspark.python=./environment/bin/python" in argv


def test_no_secret_on_the_command_line(job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOT__PASSWORD", "LAKE__S3_SECRET_KEY", "LAKE__S3_ACCESS_KEY"):
        monkeypatch.setenv(f"FLOWLAKE_{name}", "hunter2")
    monkeypatch.setenv("FLOWLAKE_LAKE__PATH", "s3a://bucket/flows")
    request = submit.parse([job, "--master", "k8s://https://h:6443", "--deploy-mode", "cluster"])
    assert "hunter2" not in submit.shown(submit.command(request))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nope"], "no job 'nope'"),
        (["missing.py"], "job missing.py: no such file"),
        (["JOB", "--conf-file", "missing.yaml"], "missing.yaml: No such file"),
        (["JOB", "--python-env", "missing.tgz"], "--python-env missing.tgz: no such file"),
        (["JOB", "--master", "local[4]", "--deploy-mode", "cluster"], "--deploy-mode cluster: Spark does not run Python drivers on local"),
        (["JOB", "--master", "spark://h:1", "--deploy-mode", "cluster"], "--deploy-mode cluster"),
    ],
)
def test_mistakes_are_told_before_anything_starts(job: str, argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        submit.command(submit.parse([job if a == "JOB" else a for a in argv]))
    assert message in str(caught.value)


def test_script_lists_the_jobs(home: Path) -> None:
    done = subprocess.run(
        [str(ROOT / "spark-submit.sh"), "nope"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "FLOWLAKE_PYTHON": sys.executable},
    )
    assert done.returncode == ConfigError.exit_code
    assert done.stderr.startswith("error: no job 'nope'\n  jobs: ")
    assert all(name in done.stderr for name in submit.jobs())


def test_stub_keeps_our_platform_package_from_hiding_the_standard_library(job: str, home: Path) -> None:
    """The main file of a job by name must not lie in ``jobs/``: its folder comes first on Python's path."""
    stub = submit._stub(home, "sink_lake")
    assert not list(stub.parent.glob("platform*"))
    compile(stub.read_text(), str(stub), "exec")

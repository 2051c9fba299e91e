"""Properties of a session, without starting one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.config import Settings
from infra.errors import StackError
from jobs.runtime import session

Factory = Callable[..., Settings]


@pytest.mark.parametrize(
    ("master", "local"),
    [
        ("local", True),
        ("local[*]", True),
        ("local[2,3]", True),
        ("local-cluster[2,1,1024]", False),
        ("spark://h:1", False),
        ("yarn", False),
    ],
)
def test_is_local(master: str, local: bool) -> None:
    assert session.is_local(master) is local


def test_what_is_right_for_one_disk_stays_on_one_disk(settings: Factory) -> None:
    local, cluster = session.properties(settings(), "local[2]"), session.properties(settings(), "spark://h:7077")
    for name in ("spark.hadoop.fs.file.impl", "spark.hadoop.fs.AbstractFileSystem.file.impl", "spark.python.daemon.module"):
        assert name in local
        assert name not in cluster


def test_settings_win_over_defaults(settings: Factory) -> None:
    conf = session.properties(settings(spark={"shuffle_partitions": 9, "conf": {"spark.ui.enabled": "true"}}), "local")
    assert conf["spark.sql.shuffle.partitions"] == "9"
    assert conf["spark.ui.enabled"] == "true"


def test_keys_of_s3_are_in_no_property(settings: Factory) -> None:
    given = settings(lake={"path": "s3a://b/f", "s3_endpoint": "http://m:9000", "s3_access_key": "AKIDX", "s3_secret_key": "hunter2"})
    conf = session.properties(given, "local")
    assert conf["spark.hadoop.fs.s3a.endpoint"] == "http://m:9000"
    assert conf["spark.hadoop.fs.s3a.connection.ssl.enabled"] == "false"
    assert not {"AKIDX", "hunter2"} & set(conf.values())


def test_wrong_java_home_is_told_before_any_jvm(settings: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    monkeypatch.setattr("pyspark.sql.SparkSession.getActiveSession", lambda: None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(StackError, match=r"JAVA_HOME=.*: there is no bin/java in it"):
        session.build(settings(), "x")


def test_old_java_is_named_with_its_version(settings: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    monkeypatch.setattr("pyspark.sql.SparkSession.getActiveSession", lambda: None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(StackError, match=r"bin/java is Java 11.0.2; .* 17 or newer"):
        session.build(settings(), "x")

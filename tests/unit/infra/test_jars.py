"""The pinned list of jars, and what happens when one cannot be had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.errors import StackError
from infra.jvm import jars
from tests.unit.infra.test_java import fake_java


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A list of our own, and an empty folder for its jars."""
    file = tmp_path / "coordinates.txt"
    file.write_text(f"# comment\n[one]\norg.example:thing:1.0 {'0' * 64}\n")
    monkeypatch.setattr(jars, "COORDINATES", file)
    monkeypatch.setenv("FLOWLAKE_JARS", str(tmp_path / "jars"))
    jars.sections.cache_clear()
    yield file
    jars.sections.cache_clear()


def test_list_is_complete_and_without_doubles() -> None:
    for name, listed in jars.sections().items():
        files = [jar.file for jar in listed]
        assert len(files) == len(set(files)), name
        assert all(set(jar.sha256) <= set("0123456789abcdef") and len(set(jar.sha256)) > 1 for jar in listed), name
    assert {"kafka_2.13"} <= {jar.name for jar in jars.section("broker")}
    assert {"delta-spark_4.2_2.13", "spark-sql-kafka-0-10_2.13"} <= {jar.name for jar in jars.section("spark")}


def test_spark_jars_fit_the_pinned_python_packages() -> None:
    from importlib.metadata import version

    versions = {jar.name: jar.version for jar in jars.section("spark")}
    assert versions["delta-spark_4.2_2.13"] == version("delta-spark")
    assert versions["spark-sql-kafka-0-10_2.13"] == version("pyspark")


def test_missing_jars_are_counted_with_the_way_out(listed: Path) -> None:
    with pytest.raises(StackError, match="1 of 1 one jars are missing") as failure:
        jars.paths("one")
    assert failure.value.hint == "make setup"


def test_unknown_section(listed: Path) -> None:
    with pytest.raises(StackError, match="no section 'two'"):
        jars.ensure("two")


@pytest.mark.parametrize("line", ["org.example:thing 00", "org.example:thing:1.0", f"org.example:thing:1.0 {'0' * 63}"])
def test_bad_line_is_named(listed: Path, line: str) -> None:
    listed.write_text(f"[one]\n{line}\n")
    with pytest.raises(StackError, match="line 2"):
        jars.sections()


def test_jar_that_cannot_be_had(listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fetcher (a launcher of ours in place of java) finds nothing: the jar and the reason are named."""
    fake_java(tmp_path / "home" / "bin", 'openjdk version "17.0.1"\nmodule not found: org.example#thing;1.0')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    with pytest.raises(StackError, match=r"org\.example:thing:1\.0 could not be fetched: .*not found"):
        jars.ensure("one")
    assert jars.missing("one")


def test_jar_with_other_content_is_refused(listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = fake_java(tmp_path / "home" / "bin", 'openjdk version "17.0.1"')
    # only as the fetcher, which runs in a folder of its own: when asked for its version it is in ours
    script.write_text(script.read_text() + 'case "$1" in -jar) echo tampered > "$PWD/thing-1.0.jar";; esac\n')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    with pytest.raises(StackError, match=r"thing:1\.0 has sha-256 [0-9a-f]{64}, the list says 0{64}"):
        jars.ensure("one")
    assert jars.missing("one")


def test_jars_of_an_older_list_are_removed(listed: Path, tmp_path: Path) -> None:
    folder = jars.folder("one")
    folder.mkdir(parents=True)
    (folder / "thing-1.0.jar").write_bytes(b"x")
    (folder / "thing-0.9.jar").write_bytes(b"old")
    assert jars.ensure("one") == [folder / "thing-1.0.jar"]
    assert not (folder / "thing-0.9.jar").exists()
    assert [jar.name for jar in jars.verify("one")] == ["thing"]

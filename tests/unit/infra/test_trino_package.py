"""The fetched Trino server: what is unpacked of it, and what is said when it cannot be had. Nothing is fetched here."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from infra.config import ROOT
from infra.errors import StackError
from infra.jvm import trino
from infra.stack.trino import TrinoServer
from ops.cli.main import main
from tests.unit.infra.test_java import fake_java

HOME = f"trino-server-{trino.SERVER.version}"


@pytest.fixture
def jars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of jars, and a Java that is new enough but fetches nothing."""
    monkeypatch.setenv("FLOWLAKE_JARS", str(tmp_path / "jars"))
    jdk(tmp_path / "jdk", "25.0.2", monkeypatch)
    return tmp_path / "jars"


def jdk(folder: Path, version: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Java of that version, which does nothing but say so."""
    program = fake_java(folder / "bin", f'openjdk version "{version}"')
    monkeypatch.setenv("JAVA_HOME", str(folder))
    return program


def packed(file: Path) -> None:
    """As the server is packed: a file that two plugins have is a link to the first of its names."""
    with tarfile.open(file, "w:gz") as archive:
        for name, content in (
            (f"{HOME}/NOTICE", b"notice"),
            (f"{HOME}/lib/main.jar", b"main"),
            (f"{HOME}/plugin/bigquery/shared.jar", b"shared"),
            (f"{HOME}/plugin/bigquery/own.jar", b"bigquery"),
            (f"{HOME}/plugin/hive/hive.jar", b"hive"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, first in (
            ("plugin/delta-lake/shared.jar", "plugin/bigquery/shared.jar"),
            ("plugin/hive/shared.jar", "plugin/bigquery/shared.jar"),
            ("plugin/iceberg/shared.jar", "plugin/bigquery/shared.jar"),
            ("plugin/hive/main.jar", "lib/main.jar"),
        ):
            link = tarfile.TarInfo(f"{HOME}/{name}")
            link.type, link.linkname = tarfile.LNKTYPE, f"{HOME}/{first}"
            archive.addfile(link)


def test_only_what_is_wanted_is_unpacked_links_to_others_too(tmp_path: Path) -> None:
    packed(tmp_path / "server.tar.gz")
    trino.unpack(tmp_path / "server.tar.gz", tmp_path / "out")
    found = {str(file.relative_to(tmp_path / "out" / HOME)): file.read_text() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert found == {
        "lib/main.jar": "main",
        "plugin/delta-lake/shared.jar": "shared",
        "plugin/hive/shared.jar": "shared",
        "plugin/hive/hive.jar": "hive",
        "plugin/hive/main.jar": "main",
    }
    assert (tmp_path / "out" / HOME / "plugin/hive/shared.jar").stat().st_nlink == 2


def test_what_is_missing_is_said(jars: Path) -> None:
    assert trino.missing() == f"no Trino server in {jars / 'trino' / HOME}"
    trino.home().mkdir(parents=True)
    assert trino.missing() == ""


def test_an_older_java_is_none_for_trino(jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trino.home().mkdir(parents=True)
    jdk(tmp_path / "older", "17.0.15", monkeypatch)
    assert trino.missing().startswith("no Java 24 or newer for Trino")


def test_a_server_that_was_not_fetched_is_not_started(jars: Path, tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no Trino server") as refused:
        TrinoServer(tmp_path / "server", 1, {}, {}).start()
    assert "flowlake trino fetch" in refused.value.hint


@pytest.mark.parametrize(("options", "code"), [([], StackError.exit_code), (["--if-reachable"], 0)])
def test_a_registry_that_is_away(jars: Path, options: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["trino", "fetch", *options])
    assert (end.value.code or 0) == code
    assert "io.trino:trino-server:476 could not be fetched" in capsys.readouterr().err
    assert [file.name for file in (jars / "trino").iterdir()] == [], "nothing is left of it"


def test_a_fetch_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWLAKE_JARS", str(tmp_path / "jars"))
    program = jdk(tmp_path / "slow", "25.0.2", monkeypatch)
    program.write_text(program.read_text() + "case $1 in -jar) exec sleep 600;; esac\n")
    with pytest.raises(trino.RegistryAway, match="not within 1 s"):
        trino.ensure(lambda *_: None, 1)


def test_another_content_is_refused(jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.tar.gz"
    packed(other)
    monkeypatch.setattr(trino.ivy, "fetch", lambda *_: other)
    with pytest.raises(StackError, match=r"has sha-256 [0-9a-f]{64}, [0-9a-f]{64} is pinned") as refused:
        trino.ensure(lambda *_: None, 10)
    assert not isinstance(refused.value, trino.RegistryAway)
    assert not trino.home().exists()


def test_the_lock_pins_the_java_with_hashes() -> None:
    (pin,) = [line.split()[0] for line in (ROOT / "requirements-trino.in").read_text().splitlines() if line and not line.startswith("#")]
    lock = trino.LOCK.read_text()
    assert lock.startswith(f"{pin} \\\n    --hash=sha256:")


def test_help_is_quick_to_import() -> None:
    """The client and delta-rs are for who asks."""
    code = "import sys, ops.cli.trino, ops.cli.athena; print([m for m in ('trino', 'deltalake', 'psycopg2', 'duckdb') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr

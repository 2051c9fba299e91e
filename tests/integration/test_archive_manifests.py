"""Manifests that were damaged, changed or taken away: told, never believed, and written anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.errors import StoreError
from jobs.archiving import overview
from jobs.archiving.run import Wish
from schemas.archive import BOOK
from tests.archivedata import EVERYTHING, months_ago, plain_rows
from tests.integration.archivebench import TABLE, ArchiveBench

pytestmark = pytest.mark.integration
OLD = months_ago(6)


def the_manifest(archive: ArchiveBench) -> Path:
    (path,) = (archive.folder() / "_manifests").iterdir()
    return path


def write_anew(archive: ArchiveBench) -> list[overview.Damage]:
    return overview.verify(archive.settings, [EVERYTHING], None, archive.said.append, anew=True)[1]


def changed(**values: Any) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps(json.loads(content) | values).encode()


def of_file(**values: Any) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        found = json.loads(content)
        found["files"][0] |= values
        return json.dumps(found).encode()

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: b'{"x":', "it cannot be read as JSON"),
        (lambda _: b"[]", "it is no manifest"),
        (lambda _: bytes(range(128, 256)), "it cannot be read as JSON"),
        (changed(rows=5), "rows is 5, the database says 4"),
        (changed(state="gone"), "state is 'gone'"),
        (changed(days={}), "days are not those of the database"),
        (of_file(bytes=1), "files are not those of the database"),
        (of_file(sha256="0" * 64), "files are not those of the database"),
    ],
)
def test_one_that_does_not_say_what_was_written(archive: ArchiveBench, change: Callable[[bytes], bytes], said: str) -> None:
    rows = plain_rows(4, OLD)
    archive.fill(rows)
    archive.run(Wish(keep=True))
    path = the_manifest(archive)
    good = path.read_bytes()
    path.write_bytes(change(good))
    (told,) = overview.verify(archive.settings, [EVERYTHING], None, archive.said.append)[1]
    assert told.path == str(path)
    assert told.problem.startswith(said)
    assert "--write-manifests" in told.problem
    with pytest.raises(StoreError, match=f"{path.name} does not say what was written: {said}") as refused:
        archive.run()
    assert f"flowlake archive verify {OLD:%Y-%m} --write-manifests" in refused.value.hint
    assert len(archive.hot()) == 4
    assert write_anew(archive) == []
    assert json.loads(path.read_bytes()) == json.loads(good)
    assert archive.verify() == []
    assert archive.run()[0].deleted == 4


def test_one_that_is_missing(archive: ArchiveBench) -> None:
    rows = plain_rows(4, OLD)
    archive.fill(rows)
    archive.run()
    archive.restore(OLD)
    the_manifest(archive).unlink()
    (told,) = archive.verify()
    assert told.startswith("it is not there; ")
    assert write_anew(archive) == []
    assert json.loads(the_manifest(archive).read_bytes())["state"] == "deleted"
    # A run needs none to go on: it writes what is missing, and only then deletes.
    the_manifest(archive).unlink()
    archive.sql(f"UPDATE {BOOK} SET restored_until = now() - interval '1 second'")
    assert archive.run()[0].deleted == 4
    assert archive.verify() == []


def test_none_is_written_anew_for_damaged_files(archive: ArchiveBench) -> None:
    """Then it may be the database that is wrong."""
    archive.fill(plain_rows(4, OLD))
    archive.run()
    (file,) = archive.folder().glob("year=*/month=*/*.parquet")
    file.write_bytes(file.read_bytes()[:-1])
    path = the_manifest(archive)
    path.write_bytes(b"[]")
    assert [Path(item.path).name for item in write_anew(archive)] == [file.name, path.name]
    assert path.read_bytes() == b"[]"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: b'{"x":', "Expecting value: line 1"),
        (lambda _: b"[]", "TypeError"),
        (lambda _: bytes(range(128, 256)), "codec can't decode"),
        (lambda _: b'{"schema_version":' * 100_000, "is no manifest: "),
        (changed(bytes="x"), "bytes is 'x', expected a number"),
        (changed(rows=5), "rows are not those of the files"),
        (changed(table="network_flows"), "table is 'network_flows', expected 'everything'"),
        (changed(month="2026-13"), "is no manifest: month '2026-13' is no month"),
        (changed(run="other"), "its month and run are those of"),
        (changed(state="writing"), "state is 'writing'"),
        (changed(days=[]), "AttributeError"),
        (changed(sums={"rows": 4}), "KeyError"),
        (of_file(bytes="x"), "bytes is 'x', expected a number"),
        (of_file(path="../../etc/passwd"), "path '../../etc/passwd' is not in the folder of the month"),
        (of_file(name="../x.parquet"), "name '../x.parquet' is none of a file"),
        (of_file(first_us=99999999999999999999999), "first_us 99999999999999999999999 is no time of the month"),
        (of_file(last_us="x"), "last_us 'x' is no time of the month"),
    ],
)
def test_what_a_database_without_a_book_does_not_believe(archive: ArchiveBench, change: Callable[[bytes], bytes], said: str) -> None:
    rows = plain_rows(4, OLD)
    archive.fill(rows)
    archive.run()
    archive.sql(f"DELETE FROM {BOOK}")
    archive.fill(rows)
    path = the_manifest(archive)
    path.write_bytes(change(path.read_bytes()))
    for command in (archive.verify, archive.run, lambda: archive.restore(OLD, into="back")):
        with pytest.raises(StoreError) as refused:
            command()
        assert f"{path} is no manifest: " in str(refused.value)
        assert said in str(refused.value)
    assert len(archive.hot()) == 4
    assert archive.sql(f"SELECT count(*) FROM {BOOK}") == [(0,)]


def test_a_damaged_file_leaves_no_table(archive: ArchiveBench) -> None:
    archive.fill(plain_rows(1500, OLD))
    archive.run()
    *_, last = sorted(archive.folder().glob("year=*/month=*/*.parquet"))
    whole = last.read_bytes()
    last.write_bytes(whole[:-100])
    with pytest.raises(StoreError, match="does not hold what was written"):
        archive.restore(OLD, into="back")
    assert archive.sql("SELECT to_regclass('back')") == [(None,)]
    with pytest.raises(StoreError, match="does not hold what was written"):
        archive.restore(OLD)
    assert (archive.hot(), archive.states()) == ([], ["deleted"])
    last.write_bytes(whole)
    assert archive.restore(OLD, into="back")[0].rows == 1500
    assert archive.sql(f"SELECT count(*) FROM {TABLE}") == [(0,)]

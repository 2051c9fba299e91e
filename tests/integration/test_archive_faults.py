"""The archive when something goes wrong: killed, two at once, a store that fails, a disk that is full, files that were damaged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.config import ROOT, Settings
from infra.errors import StoreError
from infra.sections import PostgresSettings
from infra.stack.s3 import ObjectStore
from jobs.archiving import copying, dataset, lock, months
from jobs.archiving import run as runs
from jobs.archiving.run import Wish
from schemas.archive import BOOK
from tests.archivedata import EVERYTHING, months_ago, plain_rows
from tests.integration.archive_killed import POINTS
from tests.integration.archivebench import SECRETS, TABLE, ArchiveBench
from tests.integration.failing_store import FailingStore

pytestmark = pytest.mark.integration
OLD = months_ago(6)


def changed(settings: Settings, section: str, **values: Any) -> Settings:
    return settings.model_copy(update={section: getattr(settings, section).model_copy(update=values)})


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_the_next_run_goes_on(archive: ArchiveBench, point: str) -> None:
    if point == "in the middle of deleting":
        archive.not_on_timescale("holds these days in chunks, which are dropped as a whole")
    if point == "in the middle of dropping days":
        archive.make_days(OLD, 13)
    rows = plain_rows(2500, OLD)
    archive.fill(rows)
    given = archive.settings.model_dump(mode="json", exclude=SECRETS)
    given["hot"]["password"] = archive.settings.hot.password.get_secret_value()
    child = [sys.executable, "-m", "tests.integration.archive_killed", point]
    ended = subprocess.run(child, cwd=ROOT, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    seen = archive.ids()  # what a reader sees between the two runs is whole files, and each row once
    assert len(seen) == len(set(seen))
    assert len(seen) in (0, 1000, 2500)
    assert set(seen) | {row for (row,) in archive.sql(f"SELECT id::text FROM {TABLE}")} == {row["id"] for row in rows}
    archive.run()
    assert archive.hot() == []
    assert archive.ids() == sorted(row["id"] for row in rows)
    assert archive.states() == ["deleted"]
    assert archive.verify() == []
    assert len(list((archive.folder() / "_manifests").iterdir())) == 1
    assert not (archive.folder() / "_staging").exists()
    archive.restore(OLD)
    assert len(archive.hot()) == len(rows)


def test_a_second_run_is_told_of_the_first(archive: ArchiveBench) -> None:
    archive.fill(plain_rows(3, OLD))
    with lock.session(archive.settings, "run"), pytest.raises(StoreError) as refused:
        archive.run()
    assert f"another archive run is at work (flowlake-archive run, process {os.getpid()} on" in str(refused.value)
    assert "since 20" in str(refused.value)
    assert archive.run()[0].deleted == 3


def test_rows_that_come_while_a_month_is_written_stay(archive: ArchiveBench, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.fill(plain_rows(10, OLD))
    late = plain_rows(3, OLD, prefix="late")
    stage, read = copying.stage, copying.read

    def reading(*values: Any) -> None:
        read(*values)
        archive.fill(late[:2])

    def staging(*values: Any) -> None:
        archive.fill(late[2:])
        monkeypatch.setattr(copying, "stage", stage)
        stage(*values)

    monkeypatch.setattr(copying, "read", reading)
    monkeypatch.setattr(copying, "stage", staging)
    (done,) = archive.run()
    assert (done.rows, done.deleted) == (10, 10)
    assert {row for (row,) in archive.sql(f"SELECT id::text FROM {TABLE}")} == {row["id"] for row in late}
    monkeypatch.setattr(copying, "read", read)
    (done,) = archive.run()
    assert (done.rows, done.deleted, len(archive.ids())) == (3, 3, 13)


def test_the_database_goes_away_midway(archive: ArchiveBench, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.fill(plain_rows(50, OLD))
    flush = copying.Arriving.flush

    def cut(arriving: copying.Arriving) -> None:
        flush(arriving)
        archive.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'flowlake-archive%%'")

    monkeypatch.setattr(copying.Arriving, "flush", cut)
    with pytest.raises(StoreError) as refused:
        archive.run()
    assert "PostgreSQL at" in str(refused.value)
    assert "run the same command again" in refused.value.hint
    monkeypatch.setattr(copying.Arriving, "flush", flush)
    assert (len(archive.hot()), archive.ids()) == (50, [])
    assert archive.run()[0].deleted == 50


def test_an_error_of_the_archive_ends_the_copy_and_the_next_run_goes_on(archive: ArchiveBench, tmp_path: Path) -> None:
    archive.fill(plain_rows(20, OLD))
    good = archive.settings
    (tmp_path / "file").write_text("no folder")
    archive.settings = changed(good, "archive", path=str(tmp_path / "file" / "archive"))
    with pytest.raises(StoreError, match=r"cannot .*: .*Not a directory"):
        archive.run()
    archive.settings = good
    assert archive.run()[0].deleted == 20
    assert archive.states() == ["deleted"]


@contextmanager
def mounted(root: Path, options: str) -> Iterator[None]:
    root.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(root)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(root)], check=False)


def test_a_disk_that_is_full_or_read_only(archive: ArchiveBench, tmp_path: Path) -> None:
    archive.fill(plain_rows(2500, OLD))
    small = tmp_path / "small"
    archive.settings = changed(archive.settings, "archive", path=str(small / "archive"))
    with mounted(small, "size=96k"):
        with pytest.raises(StoreError, match="No space left on device") as refused:
            archive.run()
        assert "make room" in refused.value.hint
        assert list(small.rglob("*.parquet")) == []  # what there is room for is not taken by what failed
        assert len(archive.hot()) == 2500
        subprocess.run(["mount", "-o", "remount,ro,size=64m", str(small)], check=True)
        with pytest.raises(StoreError, match="Read-only file system") as refused:
            archive.run()
        assert "let this user write there" in refused.value.hint
        subprocess.run(["mount", "-o", "remount,rw,size=64m", str(small)], check=True)
        assert archive.run()[0].deleted == 2500
        assert archive.verify() == []


def test_a_role_that_may_not_delete_is_told_before_anything_is_written(archive: ArchiveBench, postgres_server: PostgresSettings) -> None:
    archive.fill(plain_rows(3, OLD))
    archive.run(Wish(before=months.parse("1999-01", "")))  # makes the book
    role = f"r{uuid.uuid4().hex[:12]}"
    archive.sql(f"CREATE ROLE {role} LOGIN; GRANT SELECT ON {TABLE}, flowlake_schema TO {role}; GRANT ALL ON {BOOK} TO {role}")
    owner = archive.settings
    try:
        archive.settings = changed(owner, "hot", user=role)
        with pytest.raises(StoreError, match=f"lacks the right DELETE on {TABLE}") as refused:
            archive.run()
        assert f"GRANT DELETE ON {TABLE} TO {role}" in refused.value.hint
        assert not archive.folder().exists()
        assert archive.run(Wish(keep=True))[0].rows == 3
    finally:
        archive.settings = owner
        archive.sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_files_that_were_damaged_are_named_and_nothing_is_deleted_for_them(archive: ArchiveBench) -> None:
    rows = plain_rows(3500, OLD)
    archive.fill(rows)
    archive.run()
    damaged, truncated, removed, _ = files = sorted(archive.folder().glob("year=*/month=*/*.parquet"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    truncated.write_bytes(truncated.read_bytes()[:-100])
    removed.unlink()
    foreign = files[0].with_name("copy.parquet")
    foreign.write_bytes(files[3].read_bytes())
    told = archive.verify()
    begin = ("its content is not what was written", f"it has {truncated.stat().st_size:,} bytes, expected", "it is not there", "no run has")
    assert [one[: len(said)] for one, said in zip(told, begin, strict=True)] == list(begin)
    archive.fill(rows[:5])
    with pytest.raises(StoreError, match=r"0000.parquet does not hold what was written: its content"):
        archive.run()
    with pytest.raises(StoreError, match=r"0000.parquet does not hold what was written"):
        archive.restore(OLD, into="back")
    assert archive.sql("SELECT to_regclass('back')") == [(None,)]
    assert len(archive.hot()) == 5


@pytest.fixture
def failing(s3_server: ObjectStore) -> Iterator[FailingStore]:
    with FailingStore(s3_server.port) as proxy:
        yield proxy


@pytest.fixture
def bucketed(archive: ArchiveBench, s3_server: ObjectStore) -> ArchiveBench:
    name = f"b{uuid.uuid4().hex[:12]}"
    s3_server.create_bucket(name)
    lake = s3_server.lake(name)
    archive.settings = changed(changed(archive.settings, "lake", **lake), "archive", path=f"s3a://{name}/some/archive")
    return archive


def test_in_a_bucket(bucketed: ArchiveBench) -> None:
    rows = plain_rows(1500, OLD)
    bucketed.fill(rows)
    before = bucketed.hot()
    (done,) = bucketed.run()
    assert (done.rows, done.files, bucketed.hot()) == (1500, 2, [])
    assert bucketed.ids() == sorted(row["id"] for row in rows)
    assert bucketed.verify() == []
    bucketed.restore(OLD)
    assert bucketed.hot() == before


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_put_that_fails_loses_nothing(bucketed: ArchiveBench, failing: FailingStore, number: int) -> None:
    """The n-th PUT and all after it: writing, moving, the manifest."""
    rows = plain_rows(1500, OLD)
    bucketed.fill(rows)
    good = bucketed.settings
    bucketed.settings = changed(good, "lake", s3_endpoint=failing.endpoint)
    failing.fail_from(number)
    with pytest.raises(StoreError) as refused:
        bucketed.run()
    assert "archive s3a://" in str(refused.value)
    assert good.lake.s3_secret_key.get_secret_value() not in str(refused.value)
    found = dataset.dataset(good, EVERYTHING)
    archived = found.count_rows() if found else 0
    assert archived in (0, 1000, 1500)
    assert len(bucketed.hot()) == 1500
    failing.fail_from(0)
    bucketed.run()
    assert bucketed.ids() == sorted(row["id"] for row in rows)
    assert (bucketed.hot(), bucketed.states(), bucketed.verify()) == ([], ["deleted"], [])


def test_a_bucket_that_is_not_there(bucketed: ArchiveBench) -> None:
    bucketed.fill(plain_rows(3, OLD))
    bucketed.settings = changed(bucketed.settings, "archive", path="s3a://nobody-made-this/archive")
    with pytest.raises(StoreError, match="archive s3a://nobody-made-this/archive/everything: cannot"):
        bucketed.run()
    assert len(bucketed.hot()) == 3


def test_plans_need_no_right_to_write(archive: ArchiveBench) -> None:
    archive.fill(plain_rows(2, OLD))
    archive.sql("ALTER DATABASE " + archive.settings.hot.database + " SET default_transaction_read_only = on")
    assert [item.rows for item in runs.plan(archive.settings, [EVERYTHING], Wish(), print)] == [2]
    with pytest.raises(StoreError):
        archive.run()

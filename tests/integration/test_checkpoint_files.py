"""A checkpoint's files, written over by us and read again by Spark: whichever file system it is, checksums and all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.runtime import checkpoints, inputs
from schemas.packets import PREDICTIONS
from tests.integration.remake import remake, send
from tests.integration.sinkbench import Bench
from tests.integration.topics_probe import read_all

pytestmark = [pytest.mark.integration, pytest.mark.spark]


@pytest.mark.parametrize("scheme", ["", "file:"], ids=["here", "by Hadoop"])
def test_spark_reads_what_was_written_over(spark: Any, bench: Bench, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    send(bench.settings, PREDICTIONS.name, 4)
    assert read_all(spark, bench.settings) == [0, 1, 2, 3]
    assert any(bench.settings.path(bench.settings.paths.checkpoints).glob("*/offsets/.0.crc"))
    remake(bench.settings, PREDICTIONS.name)
    send(bench.settings, PREDICTIONS.name, 2)
    if scheme:
        monkeypatch.setattr(checkpoints, "_files", lambda base: checkpoints._Hadoop(f"file:{base}"))
    assert len(inputs.accept(bench.settings, "probe")) == 1
    assert read_all(spark, bench.settings) == [0, 1]


def test_the_little_that_is_needed_of_a_file_system(spark: Any, tmp_path: Path) -> None:
    for files in (checkpoints._Local(tmp_path / "here"), checkpoints._Hadoop(f"file:{tmp_path}/hadoop")):
        assert (files.files("a"), files.folders(), files.read("a/1")) == ([], [], None)
        for text in ("first", "second, and longer", "\0v1\nthird"):
            files.write("a/1", text)
            assert files.read("a/1") == text
        files.write("note.json", "{}")
        assert [name for name in files.files("a") if not name.endswith(".crc")] == ["1"]
        assert files.folders() == ["a"]
        files.remove("a")
        files.remove("a")
        assert (files.files("a"), files.read("note.json")) == ([], "{}")

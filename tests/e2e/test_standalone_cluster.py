"""A job submitted to a standalone cluster: only what spark-submit ships is in reach of driver and workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.standalone import Cluster, bare_python, submit


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    started.start()
    try:
        yield started
    finally:
        started.stop()


@pytest.mark.timeout(180)
def test_probe_finds_the_project_only_in_what_was_shipped(cluster: Cluster, tmp_path: Path) -> None:
    conf = tmp_path / "probe.yaml"
    conf.write_text("kafka:\n  topic_prefix: shipped.\nspark:\n  shuffle_partitions: 3\n  driver_memory: 512m\n")
    done = submit(
        [
            str(Path(__file__).parent / "probe_job.py"), "--master", cluster.master, "--conf-file", str(conf), "--executor-memory", "512m",
            "--conf", "spark.scheduler.minRegisteredResourcesRatio=1.0", "--", str(tmp_path / "table"), "--flag",
        ],
        tmp_path, bare_python(tmp_path), {"FLOWLAKE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    result = json.loads(lines[0].removeprefix("RESULT "))

    for place in [result["driver"], *result["workers"]]:
        assert place["otherwise"] == []
        assert place["finders"] == []
        assert all(".zip/" in file for file in place["files"]), place
    # Both workers took part, each in a folder of its own.
    assert {Path(w["cwd"]).parent.parent.name for w in result["workers"]} == {"worker-0", "worker-1"}
    assert sum(w["rows"] for w in result["workers"]) == 1000
    assert result["delta_rows"] == 100  # the jars are there too
    assert result["prefix"] == "shipped."
    assert result["partitions"] == "3"
    assert result["master"] == cluster.master
    assert result["executor_memory"] == "512m"
    assert result["arguments"] == [str(tmp_path / "table"), "--flag"]


@pytest.mark.timeout(120)
def test_a_failing_job_ends_with_its_exit_code_and_one_line(tmp_path: Path) -> None:
    """On local[1]: the same way in, and the way out of an error."""
    job = tmp_path / "failing.py"
    job.write_text(
        "import sys\nfrom infra.errors import ModelError\nfrom jobs.platform import runner\n"
        "sys.exit(runner.report(ModelError('model x is corrupt', 'train')))\n"
    )
    done = submit([str(job), "--master", "local[1]"], tmp_path, bare_python(tmp_path), {"FLOWLAKE_HOME": str(tmp_path)})
    assert done.returncode == 6
    said = done.stdout + done.stderr  # spark-submit joins the two streams of a Python driver
    assert "error: model x is corrupt\n  train\n" in said
    assert "Traceback" not in said
    assert "\tat " not in said

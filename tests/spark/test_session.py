"""The session as it really is, and the runner with real queries."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import structlog
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming import StreamingQuery

from infra import metrics
from infra.config import ROOT, Settings
from infra.errors import ModelError, StoreError
from jobs.runtime import runner, session

pytestmark = pytest.mark.spark
FAST = runner.Restart(first_s=0.05, most_s=0.1, attempts=3)


def test_second_build_is_the_same_session(spark: SparkSession, settings: Callable[..., Settings]) -> None:
    assert session.build(settings(), "other").sparkContext is spark.sparkContext


def test_workers_have_one_thread_and_this_interpreter(spark: SparkSession) -> None:
    def look(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            yield pa.RecordBatch.from_pydict({"threads": [os.environ["NUMBA_NUM_THREADS"]], "python": [sys.executable]})

    row = spark.range(1).mapInArrow(look, "threads string, python string").collect()[0]
    assert row.threads == "1"
    assert Path(row.python).resolve() == Path(sys.executable).resolve()


def test_times_are_utc(spark: SparkSession) -> None:
    assert spark.sql("select cast(timestamp_seconds(0) as string)").collect()[0][0] == "1970-01-01 00:00:00"


def test_delta_and_kafka_are_there(spark: SparkSession, tmp_path: Path) -> None:
    spark.range(3).write.format("delta").save(str(tmp_path / "t"))
    assert spark.read.format("delta").load(str(tmp_path / "t")).count() == 3
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", "127.0.0.1:1").option("subscribe", "x")
    assert "headers" not in reader.load().columns
    assert "headers" in reader.option("includeHeaders", "true").load().columns


def test_keys_of_s3_are_known_to_hadoop_only(spark: SparkSession, settings: Callable[..., Settings]) -> None:
    given = settings(lake={"path": "s3a://b/f", "s3_access_key": "AKIDX", "s3_secret_key": "hunter2"})
    session.build(given, "x")
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
    try:
        assert hadoop.get("fs.s3a.secret.key") == "hunter2"
        assert "hunter2" not in str(spark.sparkContext.getConf().getAll())
        assert "hunter2" not in str(spark.sql("set -v").collect())
    finally:
        hadoop.unset("fs.s3a.secret.key")
        hadoop.unset("fs.s3a.access.key")


class Sink:
    """A query over one row a folder file, whose batches fail while told to."""

    def __init__(self, spark: SparkSession, folder: Path, name: str) -> None:
        self.spark, self.folder, self.name = spark, folder, name
        self.error: Exception | None = None
        self.batches: list[int] = []
        (folder / "in").mkdir(parents=True)
        self.feed()

    def feed(self) -> None:
        (self.folder / "in" / f"{time.monotonic_ns()}.txt").write_text("x\n")

    def start(self) -> StreamingQuery:
        def write(frame: DataFrame, batch: int) -> None:
            if self.error:
                raise self.error
            frame.count()
            self.batches.append(batch)

        rows = self.spark.readStream.text(str(self.folder / "in"))
        return rows.writeStream.queryName(self.name).foreachBatch(write).option("checkpointLocation", str(self.folder / "cp")).start()


def until(true: Callable[[], bool], patience_s: float = 60.0) -> None:
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def failures(query: str) -> float:
    return metrics.REGISTRY.get_sample_value("flowlake_query_failures_total", {"query": query}) or 0


def test_a_failing_query_goes_on_by_itself_and_stops_no_other(spark: SparkSession, tmp_path: Path) -> None:
    good, bad = Sink(spark, tmp_path / "good", "t_good"), Sink(spark, tmp_path / "bad", "t_bad")
    bad.error = StoreError("store is away")
    stop = threading.Event()
    codes: list[int] = []
    queries = [runner.StartedQuery("t_good", good.start), runner.StartedQuery("t_bad", bad.start)]
    thread = threading.Thread(target=lambda: codes.append(runner.run(spark, queries, restart=FAST, stop=stop, poll_s=0.02)))
    thread.start()
    try:
        until(lambda: failures("t_bad") >= FAST.attempts + 1)  # a store that is away is waited for longer than an unknown error
        until(lambda: good.batches == [0])
        assert bad.batches == []
        bad.error = None
        until(lambda: bad.batches == [0])
        good.feed()
        until(lambda: good.batches == [0, 1])
    finally:
        stop.set()
        thread.join(60)
    assert codes == [0]
    assert not spark.streams.active


def test_each_query_is_told_of_when_it_has_stopped(spark: SparkSession, tmp_path: Path) -> None:
    sinks = {name: Sink(spark, tmp_path / name, name) for name in ("t_one", "t_two", "t_three", "t_four")}
    stop = threading.Event()
    queries = [runner.StartedQuery(name, sink.start) for name, sink in sinks.items()]
    with structlog.testing.capture_logs() as logged:
        thread = threading.Thread(target=lambda: runner.run(spark, queries, restart=FAST, stop=stop, poll_s=0.02))
        thread.start()
        try:
            until(lambda: all(sink.batches for sink in sinks.values()))
        finally:
            stop.set()
            thread.join(60)
    assert sorted(line["query"] for line in logged if line["event"] == "query stopped") == sorted(sinks)


def test_a_permanent_cause_ends_one_query_and_sets_the_exit_code(spark: SparkSession, tmp_path: Path) -> None:
    sink = Sink(spark, tmp_path, "t_dead")
    sink.error = ModelError("model is of another version")
    assert runner.run(spark, [runner.StartedQuery("t_dead", sink.start)], restart=FAST, poll_s=0.02) == ModelError.exit_code


def test_an_unknown_error_is_given_up_after_some_attempts_and_takes_the_others_along_when_essential(
    spark: SparkSession, tmp_path: Path
) -> None:
    good, sink = Sink(spark, tmp_path / "good", "t_other"), Sink(spark, tmp_path / "bad", "t_unknown")
    sink.error = ValueError("a mistake of ours")
    queries = [runner.StartedQuery("t_other", good.start), runner.StartedQuery("t_unknown", sink.start, essential=True)]
    assert runner.run(spark, queries, restart=FAST, poll_s=0.02) == 1
    assert not spark.streams.active


def test_a_start_that_fails_counts_like_a_query_that_fails(spark: SparkSession) -> None:
    def start() -> StreamingQuery:
        raise ModelError("no champion")

    assert runner.run(spark, [runner.StartedQuery("t_start", start)], restart=FAST, poll_s=0.02) == ModelError.exit_code


def test_a_store_that_refuses_at_the_first_start_ends_the_driver_at_once(spark: SparkSession, tmp_path: Path) -> None:
    good = Sink(spark, tmp_path / "good", "t_first")
    attempts = []

    def start() -> StreamingQuery:
        attempts.append(1)
        raise StoreError("PostgreSQL refuses the password")

    queries = [runner.StartedQuery("t_first", good.start), runner.StartedQuery("t_refused", start)]
    assert runner.run(spark, queries, restart=FAST, poll_s=0.02) == StoreError.exit_code
    assert len(attempts) == 1
    assert not spark.streams.active


DRIVER = """
import sys, time
from pathlib import Path
from infra import config, log
from jobs.runtime import runner, session
out = Path(sys.argv[1])
settings = config.load()
log.setup(settings.log)
spark = session.build(settings, "stopping")
def write(frame, batch):
    frame.count()
    (out / f"begun-{batch}").touch()
    time.sleep(1.5)
    (out / f"ended-{batch}").touch()
def start():
    rows = spark.readStream.format("rate").option("rowsPerSecond", 5).load()
    return rows.writeStream.foreachBatch(write).option("checkpointLocation", str(out / "cp")).start()
code = runner.run(spark, [runner.StartedQuery("slow", start)])
(out / "stopping").touch()
runner.shut_down(spark)
sys.exit(code)
"""


def interrupted(folder: Path, program: str, when: Callable[[subprocess.Popen[str]], None]) -> tuple[int, str]:
    """Exit code and standard error of a driver to which ``when`` sends signals."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_", "SPARK_"))}
    environment |= {"PYTHONPATH": str(ROOT), "FLOWLAKE_HOME": str(folder), "FLOWLAKE_SPARK__DRIVER_MEMORY": "512m"}
    environment["FLOWLAKE_JARS"] = os.environ.get("FLOWLAKE_JARS", str(ROOT / "var" / "jars"))
    driver = subprocess.Popen([sys.executable, "-c", program, str(folder)], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        when(driver)
        _, said = driver.communicate(timeout=60)
    finally:
        driver.kill()
        driver.wait()
    return driver.returncode, said


def begun(folder: Path, driver: subprocess.Popen[str]) -> None:
    until(lambda: bool(list(folder.glob("begun-*"))) or driver.poll() is not None, 120)


def test_a_second_signal_ends_it_in_the_midst_of_a_batch(tmp_path: Path) -> None:
    def twice(driver: subprocess.Popen[str]) -> None:
        begun(tmp_path, driver)
        driver.send_signal(signal.SIGINT)
        time.sleep(0.5)
        driver.send_signal(signal.SIGINT)

    endless = DRIVER.replace("time.sleep(1.5)", "spark.range(10**14).selectExpr('max(hash(id))').collect()")
    code, said = interrupted(tmp_path, endless, twice)
    assert code == runner.INTERRUPTED, said
    assert "interrupted: batches that were running are done again" in said
    assert "Traceback" not in said
    assert not (tmp_path / "ended-0").exists()


def test_a_signal_while_spark_is_shut_down_is_no_trace(tmp_path: Path) -> None:
    """Within a call to the JVM: the second Ctrl-C of somebody in a hurry mostly comes then."""
    program = DRIVER.replace(
        "runner.shut_down(spark)",
        "import os, signal, threading\nthreading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()\nrunner.shut_down(spark)",
    )

    def once(driver: subprocess.Popen[str]) -> None:
        begun(tmp_path, driver)
        driver.send_signal(signal.SIGINT)

    code, said = interrupted(tmp_path, program, once)
    assert code == 0, said
    assert "Traceback" not in said
    assert "KeyboardInterrupt" not in said


def test_sigterm_lets_the_running_batch_end(tmp_path: Path) -> None:
    def once(driver: subprocess.Popen[str]) -> None:
        begun(tmp_path, driver)
        driver.send_signal(signal.SIGTERM)

    code, said = interrupted(tmp_path, DRIVER, once)
    assert code == 0, said
    assert (tmp_path / "ended-0").exists()
    assert "Traceback" not in said
    assert "\tat " not in said

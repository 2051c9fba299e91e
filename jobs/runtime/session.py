"""The Spark session: built here and nowhere else.

Three ways lead in, and each finds the same session:

- plain Python on this machine (``local[*]``): the JVM is started here, with our jars, memory and log file;
- plain Python against a cluster master (``spark://...``): the same, and the code is shipped as a zip;
- under ``spark-submit`` (``spark-submit.sh``): the JVM is there already, and what the submitter gave (master, jars, memory,
  any ``--conf``) wins over everything below.

Order of precedence otherwise: ``extra_conf`` over ``settings.spark.conf`` over the properties below.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from infra import paths
from infra.config import ROOT, Settings
from infra.errors import FlowlakeError, StackError
from infra.jvm import jars, java
from jobs.runtime import causes, s3a
from jobs.runtime.workers import WARM, made_ready

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: Lines on the JVM's standard error that say nothing: of the JVM itself, and of the worker that sets up a stateful operator.
NOISE = (
    "WARNING: Using incubator modules",
    "Picked up JAVA_TOOL_OPTIONS",
    "NOTE: Picked up JDK_JAVA_OPTIONS",
    "Starting Streaming TransformWithStateIn",
    "Streaming TransformWithStateIn",
)

#: One thread per Python worker: Spark already runs one worker per core, and nested pools make each other slow.
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

_STREAMING = "spark.sql.streaming"
_STATE = f"{_STREAMING}.stateStore"
_CHECKPOINTING = "org.apache.spark.sql.execution.streaming.checkpointing"


def build(settings: Settings, app: str, *, extra_conf: Mapping[str, str] | None = None) -> SparkSession:
    """The session of this process, built from the settings; the one that is there already, if any.

    Parameters
    ----------
    settings : Settings
        Sections ``spark``, ``lake`` and ``paths`` are used.
    app : str
        Application name, as it is shown by Spark.
    extra_conf : mapping of str to str, optional
        Further Spark properties; they win over those of the settings.

    Raises
    ------
    StackError
        No JDK or one older than 17, jars missing, or the JVM did not start. One line, before any JVM trace.
    """
    from pyspark.sql import SparkSession

    try:
        if SparkSession.getActiveSession() is None:
            _start_context(settings, app, dict(extra_conf or {}))
        session = SparkSession.builder.getOrCreate()
        session.conf.get("spark.sql.shuffle.partitions")  # the session's state is built on first use: a bad spark.sql property shows here
    except FlowlakeError:
        raise
    except Exception as e:
        where = f"Spark session on {settings.spark.master!r}"
        raise StackError(f"{where}: {causes.summary(e)}", "check spark.master and spark.conf: flowlake config show") from e
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        # They print each analysis error as a page of JSON on standard error, beside raising it.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if uses_s3(settings):
        s3a.give(settings, session)
    return session


def submitted() -> bool:
    """Whether this process was started by ``spark-submit`` (the JVM is then its parent, configured by the submitter)."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def is_local(master: str) -> bool:
    """Whether driver and workers share this machine's disk: ``local``, ``local[2]``, ``local[*]``; not ``local-cluster[...]``."""
    return master == "local" or master.startswith("local[")


def uses_s3(settings: Settings) -> bool:
    """Whether the lake or the checkpoints lie on S3, so that the S3A connector is needed."""
    return any(path.startswith("s3a://") for path in (settings.lake.path, *settings.lake.tables.values(), settings.paths.checkpoints))


def jar_sections(settings: Settings) -> tuple[str, ...]:
    """Sections of the pinned jar list that a session of these settings needs; without an ``s3`` section, S3A must come with the cluster."""
    return ("spark", "s3") if uses_s3(settings) and "s3" in jars.sections() else ("spark",)


def properties(settings: Settings, master: str) -> dict[str, str]:
    """Spark properties of a session, those that concern starting a JVM left out. Holds no secret.

    Parameters
    ----------
    settings : Settings
        The configuration.
    master : str
        The master in force, which a submitter may have chosen.
    """
    conf = {
        # SQL and Delta
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(settings.spark.shuffle_partitions),
        # The default of 50 tasks per reading of a table's log costs a second a batch on a small machine.
        "spark.databricks.delta.snapshotPartitions": str(max(2, min(settings.spark.shuffle_partitions, 50))),
        # Re-planning between stages costs more than it saves in batches of a fraction of a second.
        "spark.sql.adaptive.enabled": "false",
        # State: RocksDB is what transformWithState demands; with changelog a commit uploads what changed, not a snapshot.
        f"{_STATE}.providerClass": "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
        f"{_STATE}.rocksdb.changelogCheckpointing.enabled": "true",
        # Progress files kept per query: enough to look back, few enough to list.
        f"{_STREAMING}.minBatchesToRetain": "20",
        # SIGTERM waits this long for a running batch.
        f"{_STREAMING}.stopTimeout": "60s",
        # Python workers
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
        # A message may be a MB. A column of all messages of a task grows by doubling, each time copied and the rest cleared.
        "spark.sql.execution.arrow.maxBytesPerBatch": str(1 << 20),
        "spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled": "true",
        "spark.python.worker.reuse": "true",
        "spark.ui.showConsoleProgress": "false",
        # Generated classes are kept by their source text; the default of 100 is less than four queries and Delta use in turn, and each miss
        # costs a compilation by Janino, a look through every jar of the class path and another by the JVM's own compiler.
        "spark.sql.codegen.cache.maxEntries": "2000",
        # A batch of the lake takes seconds: with FIFO its tasks go before those of the meter and the alerts.
        "spark.scheduler.mode": "FAIR",
    }
    conf |= {f"spark.executorEnv.{name}": "1" for name in ONE_THREAD}
    if is_local(master):
        conf |= _local(settings)
    else:
        # Relative to the executor's own working folder: private to it, unlike anything predictable under /tmp.
        conf |= {"spark.executorEnv.NUMBA_CACHE_DIR": ".numba", "spark.executorEnv.XDG_CACHE_HOME": ".cache"}
    if uses_s3(settings):
        conf |= s3a.properties(settings)
    return conf | settings.spark.conf


def _local(settings: Settings) -> dict[str, str]:
    """What is right only where driver and workers are one machine."""
    var = settings.path(settings.paths.var)
    return {
        "spark.ui.enabled": "false",
        # Each execution's plan is written out for the listeners, with 120 columns of the lake several times over.
        "spark.sql.ui.explainMode": "simple",
        "spark.sql.debug.maxToStringFields": "5",
        "spark.sql.maxPlanStringLength": "2000",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.warehouse.dir": str(var / "warehouse"),
        # A batch moves some dozen rows of packed columns through Spark's operators: writing and compiling their code in every task and for
        # every query costs more than interpreting it.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        # A checksum of every row of a shuffle, for stages that are run again after a lost executor: here there is one.
        "spark.sql.shuffle.orderIndependentChecksum.enabled": "false",
        # Digests are compressed already.
        "spark.shuffle.compress": "false",
        # A checksum of every shuffle block, which tells what went wrong when one cannot be read.
        "spark.shuffle.checksum.enabled": "false",
        # Workers that start warm.
        "spark.python.daemon.module": "jobs.runtime.daemon",
        # Without its native library Hadoop sets permissions and resolves links by child processes, several for each file of a checkpoint,
        # some 40 a second. This file system asks Java instead; and the other checkpoint manager does not ask for links.
        "spark.hadoop.fs.file.impl": "com.globalmentor.apache.hadoop.fs.BareLocalFileSystem",
        "spark.sql.streaming.checkpointFileManagerClass": f"{_CHECKPOINTING}.FileSystemBasedCheckpointFileManager",
        # That file system has checksums of its own: Spark's would be a second file beside each.
        "spark.sql.streaming.checkpoint.fileChecksum.enabled": "false",
        # Delta's commits, which go past both.
        "spark.hadoop.fs.AbstractFileSystem.file.impl": "org.apache.hadoop.fs.local.RawLocalFs",
    }


def launch_properties(settings: Settings, master: str) -> dict[str, str]:
    """Properties that matter when the JVM is started: memory, class path, logging.

    Raises
    ------
    StackError
        The jars are missing and cannot be fetched.
    """
    files = [str(path) for section in jar_sections(settings) for path in jars.ensure(section)]
    conf = {
        "spark.master": master,
        "spark.driver.memory": settings.spark.driver_memory,
        "spark.driver.extraJavaOptions": jvm_options(settings),
    }
    if is_local(master):
        # On the class path they are loaded in place; spark.jars would copy each of them for every session.
        conf["spark.driver.extraClassPath"] = os.pathsep.join(files)
    else:
        from jobs.runtime import package

        code = package.build(submit_folder(settings), sources=settings.catalogue.packages)
        conf["spark.jars"] = ",".join(files)
        conf["spark.submit.pyFiles"] = str(code)
    return conf


def submit_folder(settings: Settings) -> Path:
    """Folder of what is handed to ``spark-submit`` as lists of files.

    Raises
    ------
    ConfigError
        It, or the folder of the jars, holds a character that such lists give a meaning.
    """
    for section in jar_sections(settings):
        paths.check(jars.folder(section), "FLOWLAKE_JARS", (paths.LIST,))
    folder = settings.path(settings.paths.var) / "submit"
    paths.check(folder, "paths.var", (paths.LIST,))
    return folder


def jvm_environment(settings: Settings) -> dict[str, str]:
    """Environment of the driver's JVM: how it reads file names, and where it logs.

    A variable rather than an option: options are one string, which Spark's launcher takes apart at blanks, quotes and backslashes. The
    name of the rolled files is a pattern of Log4j, in which a percent sign is written twice.

    Raises
    ------
    ConfigError, StackError
        The folder of the logs cannot be used, or not be made.
    """
    var = settings.path(settings.paths.var)
    paths.check(var, "paths.var")
    folder = var / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise StackError(f"log folder {folder} (paths.var) cannot be made: {e.strerror}", "set FLOWLAKE_HOME or FLOWLAKE_PATHS__VAR") from e
    log = str(folder / "spark.log")
    running = [source.name for source in settings.catalogue.sources if any(query.wanted(settings) for query in source.queries)]
    return {
        **java.LOCALE,
        WARM: made_ready(settings, running),
        "SPARK_DRIVER_LOG": log,
        "SPARK_DRIVER_LOG_PATTERN": log.replace("%", "%%") + ".%i",
    }


def jvm_options(settings: Settings) -> str:
    """Options of the driver's JVM: how it logs, and how its memory is kept small. None of them holds a blank or a quote."""
    here = Path(__file__).parent
    # A serial collector on a small heap: 100-200 MB less resident than G1, and no pauses that matter below 4 GB.
    # C1 alone: on two cores the optimising compiler takes half of the JVM's time for minutes, and the work is done in native code.
    small = _megabytes(settings.spark.driver_memory) <= 4096
    # Its code cache is 48 MB unless told otherwise, which is full after a minute; the JVM then goes on interpreting, several times slower.
    options = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=256m"] if small else []
    if small:
        # The heap at its full size from the start, half of it for the young: else it is collected whole every few seconds, a quarter of a
        # second each, rather than grown. The same for the classes' metadata, which grows to some 200 MB.
        options += [f"-Xms{_megabytes(settings.spark.driver_memory)}m", "-XX:NewRatio=1", "-XX:MetaspaceSize=256m"]
    # Spark recognises a foreachBatch that was interrupted by a stop with a regular expression that recurses once for each character of a
    # long Python traceback; with the default of 1 MB each such stop ends in a page of StackOverflowError. Reserved, not resident.
    options.append("-Xss16m")
    # What is left of Hadoop's child processes (chmod, readlink, by Delta's commits): start them the short way.
    options.append("-Djdk.lang.Process.launchMechanism=VFORK")
    to = "console" if os.environ.get("FLOWLAKE_DEBUG") else "file"
    options.append(f"-Dlog4j2.configurationFile={(here / f'log4j2-{to}.properties').as_uri()}")
    return " ".join(options)


def _megabytes(memory: str) -> int:
    """``1g`` -> 1024, ``512m`` -> 512; Spark's other spellings count as large."""
    unit = {"m": 1, "g": 1024}.get(memory[-1:].lower())
    return int(memory[:-1]) * unit if unit and memory[:-1].isdigit() else 1 << 30


def _start_context(settings: Settings, app: str, extra: dict[str, str]) -> None:
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkRuntimeError
    from pyspark.java_gateway import launch_gateway

    if submitted():
        SparkContext._ensure_initialized()
        conf = SparkConf()  # what the submitter gave
        wanted = properties(settings, conf.get("spark.master", "") or settings.spark.master) | extra
        wanted |= {"spark.master": settings.spark.master, "spark.app.name": app}
        for key, value in wanted.items():
            conf.setIfMissing(key, value)
        SparkContext(conf=conf)
        return

    master = extra.get("spark.master", settings.spark.conf.get("spark.master", settings.spark.master))
    java.find()  # StackError, in place of the shell script's complaint
    _own_environment(master)
    os.environ.update(jvm_environment(settings))
    conf = SparkConf(loadDefaults=False)
    conf.setAll(list((launch_properties(settings, master) | properties(settings, master) | extra | {"spark.app.name": app}).items()))
    gateway = None
    if SparkContext._gateway is None:
        stderr = _Stderr()
        try:
            # A session of its own: a signal to all of our process group (a terminal, systemd, timeout) must not end it under the
            # queries, which are stopped first. It ends with us: its standard input closes.
            gateway = launch_gateway(conf, {"stderr": stderr.descriptor, "start_new_session": True})
        except PySparkRuntimeError as e:
            raise StackError(
                f"Spark's JVM did not start (master {master!r}, spark.driver_memory {settings.spark.driver_memory!r}): {stderr.reason()}",
                "flowlake config show prints the settings, flowlake doctor what is missing",
            ) from e
        finally:
            os.close(stderr.descriptor)
        stderr.show()
    SparkContext(conf=conf, gateway=gateway)


def _own_environment(master: str) -> None:
    """Environment that the JVM and the workers inherit."""
    import pyspark

    if is_local(master):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    # Workers beside the driver find the project wherever it was started from; those of a cluster get it as a zip.
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(ROOT) not in path:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, path)])

    # A SPARK_HOME of another installation would start another version of Spark behind our back.
    os.environ["SPARK_HOME"] = str(Path(pyspark.__file__).parent)
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    # glibc keeps one arena per thread otherwise: hundreds of MB in a JVM with RocksDB.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")


class _Stderr:
    """The JVM's standard error: held back until it runs (a failed start is told in one line instead), then passed on, known noise left out.

    ``descriptor`` is what the JVM writes to; the caller closes its copy once the JVM has its own.
    """

    def __init__(self) -> None:
        reading, self.descriptor = os.pipe()
        self._held: deque[str] = deque(maxlen=200)
        self._lock = threading.Lock()
        self._through = bool(os.environ.get("FLOWLAKE_DEBUG"))
        self._thread = threading.Thread(target=self._read, args=(reading,), name="jvm-stderr", daemon=True)
        self._thread.start()

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "r", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line.startswith(NOISE) or not line.strip():
                    continue
                with self._lock:
                    if self._through:
                        sys.stderr.write(line)
                        sys.stderr.flush()
                    self._held.append(line.strip())

    def show(self) -> None:
        """Pass on what was held back, and everything from here on."""
        with self._lock:
            if not self._through:
                sys.stderr.writelines(f"{line}\n" for line in self._held)
            self._through = True

    def reason(self) -> str:
        """The line that says why the JVM ended."""
        self._thread.join(timeout=5)  # the JVM is gone: its end of the pipe is closed
        lines = [line for line in self._held if line and not line.startswith("at ")]
        told = [line for line in lines if "Exception" in line or line.startswith(("Error", "Invalid", "Unrecognized"))]
        return (told or lines or ["no reason given"])[0].removeprefix('Exception in thread "main" ')

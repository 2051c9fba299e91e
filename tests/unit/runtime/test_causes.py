"""The one line that says why, out of what Python workers, the JVM and Py4J make of a failure."""

from __future__ import annotations

import pytest

from infra.errors import BrokerError, ModelError, StoreError
from jobs.runtime import causes, runner

FOREACH_BATCH = """[STREAM_FAILED] Query [id = 1, runId = 2] terminated with exception: [FOREACH_BATCH_USER_FUNCTION_ERROR] An \
error occurred in the user provided function in foreach batch sink. Reason: An exception was raised by the Python Proxy. Return Message: \
Traceback (most recent call last):
  File "sink.py", line 3, in fe
    connect()
psycopg2.OperationalError: connection refused
\tIs the server running?

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "clientserver.py", line 644, in _call_proxy
infra.errors.StoreError: hot store 127.0.0.1:1: connection refused
 SQLSTATE: 39000"""

WORKER = """An error occurred while calling o54.awaitTermination.
: org.apache.spark.sql.streaming.StreamingQueryException: [STREAM_FAILED] Query terminated
\tat org.apache.spark.Foo.bar(Foo.scala:3)
Caused by: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 0.0 failed 1 times
\tat org.apache.spark.Foo.bar(Foo.scala:3)
Caused by: org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "kernel.py", line 3, in meter
ValueError: bucket 9 of 8
more of the message
"""

JVM = """An error occurred while calling o54.save.
: org.apache.spark.SparkException: Job aborted.
\tat org.apache.spark.Foo.bar(Foo.scala:3)
Caused by: java.nio.file.AccessDeniedException: /lake/flows/_delta_log
\tat org.apache.spark.Foo.bar(Foo.scala:3)
Caused by: java.io.IOException
"""

BROKER = "x\nCaused by: org.apache.kafka.common.errors.TimeoutException: Timed out waiting for a node assignment. Call: listNodes"


@pytest.mark.parametrize(
    ("text", "line", "kind"),
    [
        (FOREACH_BATCH, "hot store 127.0.0.1:1: connection refused", StoreError),
        (WORKER, "ValueError: bucket 9 of 8", None),
        (JVM, "AccessDeniedException: /lake/flows/_delta_log", None),
        (
            BROKER,
            "the Kafka broker does not answer (TimeoutException: Timed out waiting for a node assignment. Call: listNodes)",
            BrokerError,
        ),
        ("plain words", "RuntimeError: plain words", None),
        ("", "RuntimeError", None),
    ],
)
def test_texts(text: str, line: str, kind: type | None) -> None:
    error = RuntimeError(text)
    assert causes.summary(error) == line
    assert causes.kind(error) is kind


def test_ours_in_the_chain_wins_over_what_carries_it() -> None:
    carrier = RuntimeError("outer")
    carrier.__cause__ = ModelError("model m is corrupt", "flowlake train")
    assert causes.summary(carrier) == "model m is corrupt"
    assert causes.kind(carrier) is ModelError
    assert runner.exit_code(carrier) == ModelError.exit_code


def test_one_line_is_one_line_of_bounded_length() -> None:
    line = causes.summary(ValueError("a\nb " + "x" * 5000))
    assert "\n" not in line
    assert len(line) <= 500


def test_a_cycle_of_causes_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert causes.summary(first) == "ValueError: first"


def test_report_shows_line_and_hint_and_no_trace(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOWLAKE_DEBUG", raising=False)
    assert runner.report(StoreError("store s is away", "start it")) == StoreError.exit_code
    assert capsys.readouterr().err == "error: store s is away\n  start it\n"

"""The table of what failures mean: each text and code as it was heard, what is done about it, and that no text is known elsewhere."""

from __future__ import annotations

from pathlib import Path
from string import Formatter

import psycopg2
import pytest

from infra.config import Settings
from infra.errors import BrokerError, StoreError
from infra.sections import LakeSettings, PostgresSettings
from jobs.runtime import meanings
from jobs.runtime.meanings import TABLE, About, Remedy
from jobs.sinks import lake, postgres
from jobs.sinks.stores import StoreUnavailable

DATABASE = PostgresSettings(host="db", port=5432, database="flows", user="me")
#: What a caller fills into the templates of a subject.
FACTS = {
    About.OBJECT_STORE: {"path", "where", "bucket", "why"},
    About.LAKE: {"path"},
    About.LOGIN: {"where", "user", "said"},
}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.about.name}-{row.pattern.pattern[:30]}")
def test_templates_ask_for_what_callers_have(row: meanings.Meaning) -> None:
    fields = {name for _, name, _, _ in Formatter().parse(row.template) if name}
    assert fields <= FACTS.get(row.about, set()) | {"line"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Timed out waiting for a node assignment. Call: listNodes", BrokerError),
        ("Failed to create new KafkaAdminClient", BrokerError),
        ("No resolvable bootstrap urls given in bootstrap.servers", BrokerError),
        ("java.io.IOException: No space left on device", StoreError),
    ],
)
def test_subjects_are_asked_apart(text: str, error: type) -> None:
    found = meanings.find(text, About.BROKER, About.SYSTEM)
    assert found is not None
    assert (found.error, found.passing) == (error, True)
    assert meanings.find(text, About.LOGIN) is None
    assert meanings.find(text) is None


@pytest.mark.parametrize(
    ("code", "kind", "hint"),
    [
        ("08006", StoreUnavailable, ""),  # connection failure
        ("40P01", StoreUnavailable, ""),  # deadlock
        ("53100", StoreUnavailable, ""),  # disk full
        ("55P03", StoreUnavailable, ""),  # lock not available
        ("57P03", StoreUnavailable, ""),  # starting up
        ("25006", StoreUnavailable, ""),  # read-only
        ("22003", postgres.RefusedData, ""),  # out of range
        ("23505", postgres.RefusedData, ""),  # unique violation
        ("42501", StoreError, "GRANT"),
        ("42P01", StoreError, "dropped or changed by hand"),
        ("42703", StoreError, "dropped or changed by hand"),
        ("55000", StoreError, ""),  # 55P03 alone of its class passes
        ("25001", StoreError, ""),
    ],
)
def test_codes_of_the_database(code: str, kind: type, hint: str) -> None:
    error = psycopg2.DatabaseError("ERROR:  what\n  it says")
    error.__setstate__({"pgcode": code})
    found = postgres.classify(error, DATABASE)
    assert type(found) is kind
    assert "what it says" in str(found)
    assert hint in getattr(found, "hint", "")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg2.OperationalError("server closed the connection unexpectedly"), StoreUnavailable),
        (psycopg2.InterfaceError("connection already closed"), StoreUnavailable),
        (psycopg2.DatabaseError("error with no message from the libpq"), StoreUnavailable),
        (psycopg2.DataError("out of range"), postgres.RefusedData),
    ],
)
def test_without_a_code_the_connection_broke_or_the_client_refused(error: psycopg2.Error, kind: type) -> None:
    assert type(postgres.classify(error, DATABASE)) is kind


@pytest.mark.parametrize(
    ("said", "kind", "hint"),
    [
        ('FATAL:  password authentication failed for user "me"', StoreError, "FLOWLAKE_HOT__PASSWORD"),
        ("fe_sendauth: no password supplied", StoreError, "FLOWLAKE_HOT__PASSWORD"),
        ('FATAL:  database "flows" does not exist', StoreError, "create it"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1"', StoreError, "pg_hba.conf"),
        ('FATAL:  permission denied for database "flows"', StoreError, "GRANT CONNECT"),
        ('FATAL:  role "me" is not permitted to log in', StoreError, "ALTER ROLE"),
        ("connection refused\n\tIs the server running?", StoreUnavailable, ""),
        ("FATAL:  sorry, too many clients already", StoreUnavailable, ""),
    ],
)
def test_logins(said: str, kind: type, hint: str) -> None:
    found = postgres._connect_error(psycopg2.OperationalError(f"connection to server at db failed: {said}"), DATABASE)
    assert type(found) is kind
    assert str(found).startswith("PostgreSQL at db:5432/flows")
    assert hint in getattr(found, "hint", "")


def test_a_database_that_is_not_there_may_be_the_demos(home: Path) -> None:
    def hint(database: str) -> str:
        said = psycopg2.OperationalError(f'FATAL:  database "{database}" does not exist')
        return str(getattr(postgres._connect_error(said, DATABASE.model_copy(update={"database": database})), "hint", ""))

    assert "flowlake up" in hint("flowlake")
    assert "demo" not in hint("flowlake")
    (home / "var" / "demo").mkdir(parents=True)
    (home / "var" / "demo" / "conf.yaml").write_text("hot: {database: of_demo}\nalerts: {database: of_demo}\n")
    assert hint("flowlake").endswith("; what the demo wrote: --conf-file var/demo/conf.yaml")
    assert "--conf-file" not in hint("of_demo"), "those are in force"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("java.io.IOException: No space left on device", Remedy.WAIT),
        ("io.delta.exceptions.ConcurrentAppendException: [DELTA_CONCURRENT_APPEND]", Remedy.WAIT),
        ("java.io.FileNotFoundException: /lake/x (Permission denied)\n Caused by: Connection reset", Remedy.STOP),
        ("java.io.IOException: Mkdirs failed to create file:/lake", Remedy.STOP),
        ("java.lang.IllegalStateException: something else", None),
    ],
)
def test_failures_of_the_lake(text: str, remedy: Remedy | None) -> None:
    settings = Settings(lake=LakeSettings(path="/lake"))
    error = RuntimeError(f"An error occurred while calling o1.save.\n  : {text}\n\tat org.apache.spark.Foo")
    found = lake._problem(error, settings, settings.lake.path)
    told = text.split("\n")[0]
    if remedy is Remedy.WAIT:
        assert isinstance(found, StoreUnavailable)
        assert str(found) == f"lake /lake: : {told}"
        last = lake._problem(error, settings, settings.lake.path, final=True)
        assert isinstance(last, StoreError)
        assert last.hint == "check lake.path and lake.s3_endpoint"
    elif remedy is Remedy.STOP:
        assert isinstance(found, StoreError)
        assert str(found) == f"lake /lake cannot be written: : {told}"
    else:
        assert found is error

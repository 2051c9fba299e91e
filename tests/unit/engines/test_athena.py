"""Statements for Athena: what they say, that they are understood, and that the files of the project are current."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from infra import config
from infra.config import ROOT, Settings
from infra.errors import ConfigError
from jobs.engines import athena
from ops.cli.main import main
from tests import cookbook
from tests.enginesdata.athena import problem

Factory = Callable[..., Settings]
S3 = {"lake": {"path": "s3a://bucket/lake/flows"}, "archive": {"path": "s3a://bucket/archive"}}
BOTH = {"sources": {"packages": ["jobs.sources", "tests.toy_source"]}}


def test_every_record_type_has_its_statements(settings: Factory) -> None:
    made = athena.statements(settings(**BOTH, **S3))
    assert list(made) == [
        "create_database", "create_flows", "create_exported_flows",
        "create_windows_5", "create_windows_30", "create_windows_180", "create_readings",
        "create_labels", "create_quarantine",
        "create_model_drift", "create_model_references",
        "create_archived_flows", "ask_archived_flows_by_month",
        "create_archived_exported_flows", "ask_archived_exported_flows_by_month", "create_archived_interface_counters",
        "create_archived_windows", "ask_archived_windows_by_month",
        "create_archived_readings", "ask_archived_readings_by_month",
    ]  # fmt: skip
    assert "LOCATION 's3://bucket/lake/readings/'" in made["create_readings"]
    assert "  `device` string,\n  `value` float," in made["create_archived_readings"]
    assert (
        "'storage.location.template' = 's3://bucket/archive/sensor_readings/year=${year}/month=${month}/'"
        in made["create_archived_readings"]
    )


def test_the_references_columns_have_its_types(settings: Factory) -> None:
    """The reference's table; its partitions come before where they belong, and its reserved word is in backticks."""
    made = athena.statements(settings(**S3))["create_archived_flows"]
    assert made.startswith("CREATE EXTERNAL TABLE IF NOT EXISTS flowlake.archived_flows (\n  `timestamp` timestamp,\n")
    for column in ("`src_ip` string", "`predicted_label` int", "`confidence_score` float"):
        assert f"  {column},\n" in made
    assert "PARTITIONED BY (`year` int, `month` int)\nSTORED AS PARQUET\nLOCATION" in made


def test_athena_understands_each(settings: Factory) -> None:
    found = {name: problem(sql) for name, sql in athena.statements(settings(**BOTH, **S3)).items()}
    assert found == dict.fromkeys(found, "")


@pytest.mark.parametrize("block", cookbook.blocks("athena"), ids=lambda block: block.id)
def test_athena_understands_the_cookbook(block: cookbook.Recipe) -> None:
    assert problem(block.sql) == ""
    assert not re.search(r"\b(?:lake|hot|archive)\.\w+\.", block.sql), "Athena has no such catalogs: its database is flowlake"


@pytest.mark.parametrize(
    ("whole", "planted"),
    [
        ("STORED AS PARQUET", "STORD AS PARQUET"),
        ("TBLPROPERTIES (", "TBLPROPERTES ("),
        ("`timestamp` timestamp", "timestamp timestamp"),
        ("`src_ip` string,", "`src_ip` strin,"),
        ("`src_ip` string,", "`src_ip` string"),
        ("\n)\nPARTITIONED", "\nPARTITIONED"),
        ("'projection.enabled' = 'true'", "'projection.enabled' 'true'"),
        ("PARTITIONED BY (`year` int, `month` int)\nSTORED AS PARQUET", "STORED AS PARQUET\nPARTITIONED BY (`year` int, `month` int)"),
        (");\n", "); SELECT 1;\n"),
    ],
)
def test_a_planted_error_in_ddl_is_found(settings: Factory, whole: str, planted: str) -> None:
    statement = athena.statements(settings(**S3))["create_archived_flows"]
    assert statement.count(whole) >= 1
    assert problem(statement.replace(whole, planted))


@pytest.mark.parametrize(
    ("whole", "planted"),
    [
        ("GROUP BY year", "GROUP year"),
        ("count(*)", "count(*"),
        ("FROM flowlake", "FORM flowlake"),
        ("WHERE year", "WERE year"),
        ("sum(", "summ("),
        ("year, month, count", "year month count"),
    ],
)
def test_a_planted_error_in_a_question_is_found(settings: Factory, whole: str, planted: str) -> None:
    question = athena.statements(settings(**S3))["ask_archived_flows_by_month"]
    assert problem(question.replace(whole, planted))


def test_the_projects_files_are_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = athena.statements(config.load(ROOT / "conf" / "cluster.yaml"))
    there = {file.stem: file.read_text(encoding="utf-8") for file in (ROOT / "infra" / "athena").glob("*.sql")}
    assert there == made, "flowlake athena ddl --conf-file conf/cluster.yaml --into infra/athena"


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({}, "Athena reads S3 alone, and flows lies in"),
        ({"lake": S3["lake"]}, "archived_flows lies in"),
    ],
)
def test_a_folder_is_refused_with_the_way_out(settings: Factory, sections: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        athena.statements(settings(**sections))
    assert "flowlake sql" in refused.value.hint


@pytest.mark.parametrize("years", ["2049-2010", "2010", "10-20", "0000-2010", "x-y"])
def test_years_that_are_no_range_are_refused(
    years: str, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWLAKE_LAKE__PATH", "s3a://bucket/lake/flows")
    monkeypatch.setenv("FLOWLAKE_ARCHIVE__PATH", "s3a://bucket/archive")
    with pytest.raises(SystemExit) as end:
        main(["athena", "ddl", "--years", years])
    assert end.value.code == ConfigError.exit_code
    assert "--years" in capsys.readouterr().err


def test_the_command_prints_and_writes_the_same(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWLAKE_LAKE__PATH", "s3a://bucket/lake/flows")
    monkeypatch.setenv("FLOWLAKE_ARCHIVE__PATH", "s3a://bucket/archive")
    for arguments in ([], ["--into", str(tmp_path / "ddl")]):
        with pytest.raises(SystemExit) as end:
            main(["athena", "ddl", "--years", "2017-2031", *arguments])
        assert not end.value.code
        if not arguments:
            printed = capsys.readouterr().out
    files = {file.read_text() for file in (tmp_path / "ddl").iterdir()}
    assert files
    assert all(text in printed for text in files)
    assert "'projection.year.range' = '2017,2031'" in printed

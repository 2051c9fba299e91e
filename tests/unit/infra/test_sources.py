"""Sources: how they are found, and what is told of those that are declared wrongly."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from infra import config
from infra.config import ROOT
from infra.errors import ConfigError
from infra.sources import discover, resolve
from jobs.metering.settings import MeterSettings
from jobs.runtime import lake, package
from schemas.packets import FLOWS
from schemas.records import Features, HotColumn, HotTable, LakeTable, RecordType
from schemas.topics import TopicSpec
from tests.toy_source.records import READING
from tests.toy_source.settings import ReadingsSettings

TOY = ("jobs.sources", "tests.toy_source")
GOOD = """
from pydantic import Field, SecretStr
from infra.sections import Section
from infra.sources import Command, Query, Source
from schemas.topics import TopicSpec

class Own(Section):
    key: SecretStr = Field(SecretStr(""), description="a secret")
    much: int = Field(3, ge=1, description="a number")

RAW = TopicSpec("raw-x", 1, 1000, "x")
SOURCE = Source("x", "An X.", {"x": Own}, (RAW,), (), (Query("x", print, (RAW,)),), (Command("do", "x:y", "Does."),))
"""


def hot(sql: str, source: str, key: tuple[str, ...] = ("c",)) -> HotTable:
    return HotTable("t", "t", (HotColumn("c", sql, source),), key, {1: ("SELECT 1",)})


Write = Callable[..., tuple[str, ...]]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Make a package of sources: name -> text of its ``source.py``; gives ``sources.packages``."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(**sources: str) -> tuple[str, ...]:
        name = f"p{uuid.uuid4().hex[:8]}"
        for source, text in sources.items():
            folder = tmp_path / name / source
            folder.mkdir(parents=True)
            (folder / "__init__.py").write_text("")
            (folder / "source.py").write_text(text)
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "__init__.py").write_text("")
        return ("jobs.sources", name)

    return make


def test_a_package_is_a_source_or_holds_some(write: Write) -> None:
    assert [s.name for s in discover(TOY).sources] == ["features", "netflow", "packets", "windows", "readings"]
    assert [s.name for s in discover(write(x=GOOD)).sources] == ["features", "netflow", "packets", "windows", "x"]


def test_what_the_sources_bring_is_one_class_of_settings(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = write(x=GOOD)
    monkeypatch.setenv("FLOWLAKE_SOURCES__PACKAGES", f'["{packages[0]}", "{packages[1]}"]')
    monkeypatch.setenv("FLOWLAKE_X__MUCH", "7")
    monkeypatch.setenv("FLOWLAKE_X__KEY", "hunter2")
    settings = config.load()
    assert settings.x.much == 7  # type: ignore[attr-defined]
    assert settings.section(MeterSettings).buckets > 0
    assert "x.key" in config.secret_fields(type(settings))
    from ops.cli.config import effective

    assert effective(settings)["x"]["key"] == "********"
    monkeypatch.setenv("FLOWLAKE_X__MUCH", "0")
    with pytest.raises(ConfigError, match=r"environment variable FLOWLAKE_X__MUCH: x\.much"):
        config.load()
    with pytest.raises(LookupError, match="no source brings a section ReadingsSettings"):
        settings.section(ReadingsSettings)


def test_settings_go_to_another_process() -> None:
    settings = config.build(sources={"packages": list(TOY)}, readings={"batch_lines": 9})
    code = "import pickle, sys; s = pickle.load(sys.stdin.buffer); print(s.readings.batch_lines, [x.name for x in s.catalogue.sources])"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(settings), cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "9 ['features', 'netflow', 'packets', 'windows', 'readings']"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "AttributeError.*SOURCE"),
        ("SOURCE = 3", "SOURCE is a int, not a Source"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def broken(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        (GOOD.replace('Source("x"', 'Source("X y"'), "declares source 'X y'"),
        (GOOD.replace('Source("x"', 'Source("packets"'), "two sources declare sources of one name: 'packets'"),
        (GOOD.replace('{"x": Own}', '{"meter": Own}'), "two sources declare sections of the settings of one name: 'meter'"),
        (GOOD.replace('Query("x"', 'Query("lake"'), "two sources declare queries of one name: 'lake'"),
        (GOOD.replace('Query("x"', 'Query("a-b"'), "declares query 'a-b'"),
        (GOOD.replace("print, (RAW,)", 'print, (RAW,), switch="x.nothing"'), "query 'x' with switch 'x.nothing': it has no such setting"),
        (GOOD.replace('"raw-x"', '"raw-packets"'), "two sources declare topics of one name"),
        (GOOD.replace('"raw-x"', '"ü"'), "declares topic 'ü'"),
        (GOOD.replace('"Does."', '"Does.", group="Q r"'), "declares group of commands 'Q r'"),
        (GOOD.replace('"Does."', '"Does.", top=True, group="sensor"'), "command 'do' at the top and in group 'sensor'"),
        (GOOD.replace('"Does."', '"Does.", group="windows"').replace('"do"', '"show"'), "declare commands of one name: 'windows show'"),
    ],
)
def test_a_wrong_declaration_is_one_line_with_its_name(write: Write, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as failure:
        discover(write(x=text))
    assert "\n" not in str(failure.value)


def test_a_section_of_the_platform_is_taken(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"section 'kafka'.*platform"):
        config.composed(write(x=GOOD.replace('{"x": Own}', '{"kafka": Own}')))


def test_a_query_that_is_switched_off_runs_where_it_is_named(write: Write) -> None:
    off = GOOD.replace("much: int = Field(3, ge=1", "run: bool = Field(False").replace("print, (RAW,)", 'print, (RAW,), switch="x.run"')
    packages = list(write(x=off))
    switched = config.build(sources={"packages": packages})
    assert [q.name for q in switched.catalogue.chosen(switched, [])] == ["meter", "alerts", "hot", "lake"]
    assert [q.name for q in switched.catalogue.chosen(switched, ["x"])] == ["x"]
    assert switched.catalogue.chosen(switched, [], ["x"]) == []
    on = config.build(sources={"packages": packages}, x={"run": True})
    assert [q.name for q in on.catalogue.chosen(on, [])][-1] == "x"


@pytest.mark.parametrize("name", ["no.such.package", "tests.toy_source.records", "schemas"])
def test_a_package_without_sources_is_told(name: str) -> None:
    with pytest.raises(ConfigError, match=f"sources.packages.*'{name}'"):
        discover((name,))


@pytest.mark.parametrize("value", ['"jobs.sources"', "nonsense", "3", '{"a": 1}'])
def test_packages_that_are_no_list_are_told_with_their_variable(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWLAKE_SOURCES__PACKAGES", value)
    with pytest.raises(ConfigError, match="FLOWLAKE_SOURCES__PACKAGES"):
        config.load()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "A-b"}, "name 'A-b'"),
        ({"key": "nobody"}, "key 'nobody' is none of its columns"),
        ({"key": "n"}, "key 'n' is int64, it must be string"),
        ({"event_time": "id"}, "event time 'id' is string"),
        ({"final": "n"}, "final 'n' is int64, it must be bool"),
        ({"lake": LakeTable("../up", (), "")}, "lake table '../up'"),
        ({"lake": LakeTable("x", ("nobody",), "")}, "lake statistics: no column 'nobody'"),
        ({"alerts": FLOWS.alerts}, "alert columns: no column 'community_id'"),
        ({"key": "maybe"}, "key 'maybe' must not be null"),
        ({"features": Features(("id",), "1", "m", "")}, "feature 'id' is no number"),
        ({"hot": hot("numeric", "n")}, "hot column 'c' is 'numeric'; types that can be written: smallint"),
        ({"hot": hot("text not null", "n")}, "hot column 'c' is text, and 'n' is int64"),
        ({"hot": hot("bigint", "n", key=("x",))}, "key 'x' is no column of hot table"),
    ],
)
def test_a_record_type_that_contradicts_itself_is_refused(change: dict[str, object], told: str) -> None:
    at = pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False)
    schema = pa.schema([pa.field("id", pa.string(), nullable=False), at, ("n", pa.int64()), pa.field("maybe", pa.string())])
    good = {
        "name": "x",
        "version": 1,
        "schema": schema,
        "key": "id",
        "event_time": "at",
        "topic": TopicSpec("x", 1, 1, ""),
        "content_type": "x",
    }
    RecordType(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=told):
        RecordType(**{**good, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "tables", "found"),
    [
        ("var/lake/flows", {}, "var/lake/readings"),
        ("flows", {}, "readings"),
        ("/data/flows", {}, "/data/readings"),
        ("s3a://bucket/flows", {}, "s3a://bucket/readings"),
        ("s3a://bucket", {"readings": "s3://other/r/"}, "s3a://other/r"),
        ("s3a://bucket", {}, None),
        ("/flows", {}, None),
    ],
)
def test_the_lake_of_another_record_type(path: str, tables: dict[str, str], found: str | None) -> None:
    settings = config.build(lake={"path": path, "tables": tables})
    if found is None:
        with pytest.raises(ConfigError, match="is a root"):
            lake.location(settings, READING)
    else:
        assert lake.location(settings, READING) == (found if "://" in found else str(settings.path(found)))
    assert lake.location(settings, FLOWS) == (path if "://" in path else str(settings.path(path)))


def test_a_source_is_in_the_zip_and_found_there(tmp_path: Path) -> None:
    code = package.build(tmp_path, sources=TOY)
    names = zipfile.ZipFile(code).namelist()
    assert {"tests/", "tests/toy_source/source.py"} < set(names)
    assert not [name for name in names if name.startswith("tests/unit")]
    script = (
        "from infra.sources import discover; import tests.toy_source as t; "
        "print([s.name for s in discover(('jobs.sources', 'tests.toy_source')).sources], '.zip/' in t.__file__)"
    )
    environment = {**os.environ, "PYTHONPATH": str(code)}
    done = subprocess.run([sys.executable, "-P", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['features', 'netflow', 'packets', 'windows', 'readings'] True", done.stderr


def test_what_is_named_by_text_is_there_and_lies_below_ops() -> None:
    """The import contracts do not see a text."""
    for source in discover(TOY).sources:
        targets = [*(command.target for command in source.commands), *([source.warm] if source.warm else [])]
        for target in targets:
            assert resolve(target)
        for name in [*(target.partition(":")[0] for target in targets), *source.modules]:
            assert importlib.import_module(name)
            assert name.partition(".")[0] != "ops"


def test_two_record_types_do_not_share_a_table() -> None:
    shared = config.build(sources={"packages": list(TOY)}, lake={"tables": {"readings": "var/lake/flows"}})
    with pytest.raises(ConfigError, match="flows and readings would share the table"):
        lake.check(shared)
    with pytest.raises(ConfigError, match="no record type 'nosuch'"):
        lake.check(config.build(lake={"tables": {"nosuch": "x"}}))
    lake.check(config.build(sources={"packages": list(TOY)}))

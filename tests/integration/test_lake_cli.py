"""``flowlake lake`` on tables as their owners leave them, and the page that shows it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from infra import config
from infra.config import ROOT
from infra.stack.s3 import ObjectStore
from ops.cli.main import main
from tests.toy_source.records import READING
from tests.unit.sinks.test_compaction import Owned

pytestmark = pytest.mark.integration

PAGE = (ROOT / "docs" / "how-to" / "keep-the-lake.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
LINES = [line for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()]


@pytest.fixture
def owned(home: Path, monkeypatch: pytest.MonkeyPatch) -> Owned:
    """A lake where the settings have it: four batches of two flows, on two dates."""
    (home / "var" / "lake").mkdir(parents=True)
    made = Owned(home / "var" / "lake" / "flows")
    made.flows(4)
    monkeypatch.chdir(home)
    (home / "truth.csv").write_text(f"flow_id,label\n{next(iter(made.ids()))},SYN_SCAN\n")
    return made


def flowlake(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    return int(end.value.code or 0)


def test_what_the_page_shows_works(owned: Owned, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in LINES:
        assert flowlake(*shlex.split(line)[1:]) == 0, line
    assert "SYN_SCAN" in capsys.readouterr().out
    said = [
        subprocess.run([sys.executable, "-c", text], cwd=home, env=None, capture_output=True, text=True, check=False, timeout=60)
        for text in SNIPPETS
    ]
    assert [(done.returncode, done.stderr) for done in said] == [(0, "")] * len(SNIPPETS)
    assert said[0].stdout == "8 2 8\n"
    assert "6" in said[1].stdout
    assert said[2].stdout == "1\n", "one flow of the lake has a label"


def test_info_and_history(owned: Owned, capsys: pytest.CaptureFixture[str]) -> None:
    assert flowlake("lake", "info", "--json") == 0
    (flows,) = json.loads(capsys.readouterr().out)
    told = {name: flows[name] for name in ("table", "version", "files", "small_files", "rows", "dates", "checkpoint", "since_checkpoint")}
    assert told == {
        "table": "flows", "version": 4, "files": 8, "small_files": 8, "rows": 8, "dates": 2, "checkpoint": None, "since_checkpoint": 5
    }  # fmt: skip
    assert flows["newest"].startswith("2026-03-02 12:00:03")
    assert flowlake("lake", "maintain") == 0
    assert "8 files are 2 now" in capsys.readouterr().out
    assert flowlake("lake", "history", "flows", "--json", "--limit", "2") == 0
    assert [(e["version"], e["operation"]) for e in json.loads(capsys.readouterr().out)] == [(6, "compaction"), (5, "compaction")]
    assert flowlake("lake", "info", "--json") == 0
    (flows,) = json.loads(capsys.readouterr().out)
    assert (flows["files"], flows["small_files"], flows["rows"], flows["since_checkpoint"]) == (2, 0, 8, 0)
    assert flowlake("lake", "info") == 0
    assert sum(owned.ids().values()) == 8


def test_another_source_has_its_table_too(owned: Owned, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of it is known to the command but what it declares."""
    conf = home / "conf.yaml"
    conf.write_text("sources: {packages: [jobs.sources, tests.toy_source]}\n")
    readings = Owned(home / "var" / "lake" / "readings", READING)
    for batch in "ab":
        readings.readings(3, batch)
    assert flowlake("lake", "maintain", "readings", "--conf-file", str(conf)) == 0
    assert "readings: 2 files are 1 now" in capsys.readouterr().out
    assert flowlake("lake", "info", "--json", "--conf-file", str(conf)) == 0
    assert {t["table"]: (t["rows"], t["files"]) for t in json.loads(capsys.readouterr().out)} == {"flows": (8, 8), "readings": (6, 1)}
    label = ["a1", "--label", "SPIKE", "--by", "ann", "--record", "readings"]
    assert flowlake("lake", "label", "set", *label, "--conf-file", str(conf)) == 0
    assert "readings a1: SPIKE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["history", "nosuch"], 5, "no table 'nosuch' in the lake"),
        (["history", "quarantine"], 5, "holds no table yet"),
        (["maintain", "nosuch"], 5, "no table 'nosuch' in the lake"),
        (["label", "set", "x", "--label", "1", "--attack-type", "BENIGN", "--by", "ann"], 2, "contradicts"),
        (["label", "set", "x" * 40, "--label", "1", "--by", "ann"], 2, "1 to 36 ASCII characters"),
        (["label", "import", "nosuch.csv"], 3, "nosuch.csv"),
        (["label", "list", "--record", "nosuch"], 2, "no such table"),
    ],
)
def test_what_cannot_be_done_is_one_line(owned: Owned, words: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert flowlake("lake", *words) == code
    assert told in capsys.readouterr().err


def test_a_table_that_cannot_be_read(owned: Owned, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = home / "var" / "lake" / "flows" / "_delta_log"
    (log / "00000000000000000002.json").write_text("damaged")
    assert flowlake("lake", "info") == 5
    assert f"lake {log.parent}" in capsys.readouterr().out
    assert flowlake("lake", "maintain") == 5
    assert "Traceback" not in capsys.readouterr().err


CLAIM = """
import sys
from infra import config, process
with process.query(config.load(), "lake").claimed():
    print("claimed", flush=True)
    sys.stdin.read()
"""


def test_a_running_query_keeps_its_table(owned: Owned, capsys: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen([sys.executable, "-c", CLAIM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as query:
        assert query.stdout is not None
        assert query.stdout.readline() == "claimed\n"
        assert flowlake("lake", "maintain") == 5
        error = capsys.readouterr().err
        assert f"query lake runs already (pid {query.pid})" in error
        assert "has an owner that maintains it" in error
        query.communicate("")
    assert len(owned.files()) == 8
    assert flowlake("lake", "maintain") == 0
    assert len(owned.files()) == 2


def test_a_query_elsewhere_keeps_its_table(
    s3_server: ObjectStore, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.integration.test_lake_stores import Owned as InBucket

    s3_server.create_bucket("elsewhere")
    values = s3_server.lake("elsewhere")
    made: Any = InBucket(config.build(lake=values).lake)
    made.add(1)
    made.add(2)
    for name, value in values.items():
        monkeypatch.setenv(f"FLOWLAKE_LAKE__{name.upper()}", getattr(value, "get_secret_value", lambda value=value: value)())
    assert flowlake("lake", "maintain") == 5
    assert "seems to run on another machine" in capsys.readouterr().err
    assert flowlake("lake", "maintain", "--force") == 0
    assert "2 files are 1 now" in capsys.readouterr().out
    assert len(DeltaTable(made.root, storage_options=made.log._options).file_uris()) == 1

"""``flowlake archive``, its entry point, and the page that shows it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from infra.config import ROOT
from jobs.archiving import months
from ops.cli.main import main
from tests.archivedata import everything, insert_flows, months_ago
from tests.integration.archivebench import SECRETS, ArchiveBench

pytestmark = pytest.mark.integration
OLD = months_ago(6)
PAGE = ROOT / "docs" / "how-to" / "archive.md"

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(archive: ArchiveBench, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """``flowlake`` with the settings of the test."""
    given = archive.settings.model_dump(mode="json", exclude=SECRETS)
    given["alerts"] |= {name: given["hot"][name] for name in ("host", "port", "database", "user")}
    (home / "conf.yaml").write_text(yaml.safe_dump(given))
    monkeypatch.setenv("FLOWLAKE_CONF", str(home / "conf.yaml"))
    for name in ("HOT", "ALERTS"):
        monkeypatch.setenv(f"FLOWLAKE_{name}__PASSWORD", archive.settings.hot.password.get_secret_value())

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        out = capsys.readouterr()
        return int(end.value.code or 0), out.out, out.err

    return run


def test_the_command(archive: ArchiveBench, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("db", "migrate")[0] == 0
    assert call("archive", "list") == (0, "nothing is archived yet: flowlake archive run --dry-run says what can be\n", "")
    insert_flows(archive.settings.hot, 12, OLD)
    month = months.text(OLD.date())
    code, out, _ = call("archive", "run", "--dry-run", "--json")
    assert (code, json.loads(out)) == (0, [{"table": "network_flows", "month": month, "rows": 12, "state": ""}])
    monkeypatch.setenv("FLOWLAKE_HOT__KEEP_UNTIL_ARCHIVED", "false")
    code, out, err = call("archive", "run", "--table", "network_flows")
    monkeypatch.delenv("FLOWLAKE_HOT__KEEP_UNTIL_ARCHIVED")
    assert code == 0
    assert "hot.keep_until_archived is false" in err
    assert "deleted" in out
    assert call("archive", "run")[1] == "nothing to archive\n"
    (listed,) = json.loads(call("archive", "list", "--json")[1])
    assert (listed["table"], listed["month"], listed["rows"], listed["state"]) == ("network_flows", month, 12, "deleted")
    assert month in call("archive", "list")[1]
    assert call("archive", "verify", month)[:2] == (0, "1 file read, 0 damaged\n")
    (manifest,) = (archive.folder().parent / "network_flows" / "_manifests").iterdir()
    manifest.write_bytes(b'{"x":')
    code, out, _ = call("archive", "verify", month)
    assert code == 1
    assert f"{manifest}: it cannot be read as JSON; have it written anew" in out
    code, out, err = call("archive", "verify", month, "--write-manifests")
    assert (code, out) == (0, "1 file read, 0 damaged\n")
    assert f"{manifest}: it cannot be read as JSON; written anew" in err
    assert call("archive", "verify", month)[0] == 0
    assert "12 rows came back, 0 were there; it stays until 20" in call("archive", "restore", month)[1]
    (file,) = (archive.folder().parent / "network_flows").glob("year=*/month=*/*.parquet")
    file.write_bytes(file.read_bytes()[:-1])
    code, out, _ = call("archive", "verify")
    assert code == 1
    assert f"{file}: it has" in out
    for wrong, said in (
        (("run", "--table", "flows"), "no record type has such a hot table"),
        (("run", "--month", "2026-13"), "'2026-13' is no month"),
        (("run", "--month", "2026-01", "--before", "2026-01"), "exclude each other"),
        (("restore", "1999-01"), "1999-01 is not archived in"),
        (("restore", month, "--into", "a b"), "is no name of a table"),
        (("verify", "1999-01"), "1999-01 is not archived"),
    ):
        code, _, err = call("archive", *wrong)
        assert code != 0
        assert said in err


def test_the_entry_point(archive: ArchiveBench, call: Call) -> None:
    assert call("db", "migrate")[0] == 0
    done = subprocess.run([sys.executable, "-m", "jobs.archive", "--json"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_page(archive: ArchiveBench, call: Call) -> None:
    """Every command and query of the page, in its order, with the month that there are flows of."""
    assert call("db", "migrate")[0] == 0
    insert_flows(archive.settings.hot, 30, OLD)
    before = everything(archive.settings.hot, "network_flows")
    month = months.text(OLD.date())
    blocks = re.findall(r"^```(bash|sql)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    done = []
    for kind, text in blocks:
        if kind == "sql":
            archive.sql(text)
            continue
        for line in text.replace("2026-03", month).splitlines():
            words = line.partition("#")[0].split()
            code, _, err = call(*words[1:])
            assert code == 0, err
            done.append(words[2])
    assert done == ["run", "run", "list", "verify", "restore", "restore"]
    assert everything(archive.settings.hot, "network_flows") == before
    (yaml_block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for section, values in yaml.safe_load(yaml_block).items():
        getattr(archive.settings, section).__class__.model_validate(values)

"""Trino over a lake and an archive in folders, as somebody tries it on a machine of their own: the commands, and the page about them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.config import ROOT, Settings
from infra.process import free_port
from infra.sections import PostgresSettings
from tests import cookbookdata
from tests.e2e.test_readme import marked, shell
from tests.enginesdata import fetched, readings

pytestmark = [pytest.mark.integration, pytest.mark.trino, pytest.mark.timeout(600)]
PAGE = "docs/how-to/ask-with-trino-and-athena.md"


@pytest.fixture
def made(settings: Callable[..., Settings], database: dict[str, Any], home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Stores with the cookbook's data, in a folder whose name Trino must be told of rightly; the settings are a file."""
    fetched()
    folder = home / "möven & more"
    place = {name: database[name] for name in ("host", "port", "user", "database")}
    raw = {
        "sources": {"packages": ["jobs.sources", "tests.toy_source"]},
        "lake": {"path": str(folder / "lake" / "flows")},
        "archive": {"path": str(folder / "archive")},
        "hot": place,
        "alerts": place,
        "trino": {"url": f"http://127.0.0.1:{free_port()}"},
    }
    built = settings(**raw)
    cookbookdata.into_postgres(cookbookdata.Data(), PostgresSettings(**place))
    cookbookdata.into_lake(cookbookdata.Data(), built)
    readings.into_archive(built)
    (home / "conf.yaml").write_text(yaml.safe_dump(raw, allow_unicode=True), encoding="utf-8")
    monkeypatch.setenv("FLOWLAKE_CONF", str(home / "conf.yaml"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return built


@contextmanager
def serving(home: Path) -> Iterator[list[str]]:
    """``flowlake trino serve``, until it says that it answers; the tables that it has registered."""
    argv = [sys.executable, "-m", "ops.cli.main", "trino", "serve"]
    with subprocess.Popen(argv, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ) as server:
        assert server.stdout is not None
        try:
            said: list[str] = []
            for line in server.stdout:
                said.append(line.strip())
                if line.startswith("Trino answers at"):
                    break
            assert server.poll() is None, said
            yield said
            server.send_signal(signal.SIGINT)
            assert server.wait(120) == 0
        finally:
            server.terminate()


def test_tried_on_folders_as_the_page_says(made: Settings, home: Path) -> None:
    ask, register = marked(PAGE)
    with serving(home) as said:
        assert {
            "lake.flowlake.flows: made",
            "lake.flowlake.labels: made",
            "lake.flowlake.readings: nothing there yet",
            "archive.flowlake.archived_readings: made",
            "archive.flowlake.archived_flows: nothing there yet",
        } <= set(said)
        readings.into_lake(made)
        again = shell(register, home)
        assert "lake.flowlake.readings: made" in again.stdout, again.stderr
        asked = shell(ask, home)
        assert asked.returncode == 0, asked.stderr
        assert re.search(r"SYN_SCAN\s*│\s*100\b", asked.stdout), asked.stdout
        assert asked.stdout.endswith("Table\nflows\nlabels\nreadings\n")
        piped = shell("echo 'SELECT year, month, count(*) AS n FROM archive.flowlake.archived_readings GROUP BY 1, 2 ORDER BY 2;' | "
                      "flowlake trino ask - --format json", home)  # fmt: skip
        assert re.findall(r"\d+", piped.stdout) == ["2024", "2", "2", "2024", "3", "8"], piped.stderr
        refused = shell("flowlake trino ask 'DROP TABLE hot.public.alerts'", home)
        assert refused.returncode == 5
        assert "Access Denied" in refused.stderr
    gone = shell("flowlake trino ask 'SELECT 1'", home)
    assert gone.returncode == 5
    assert "flowlake trino serve" in gone.stderr


def test_a_server_elsewhere_is_not_started_here(home: Path) -> None:
    done = shell("FLOWLAKE_TRINO__URL=https://trino.example:443 flowlake trino serve", home)
    assert done.returncode == 2
    assert "is not of this machine" in done.stderr

"""The page about adding a source, followed: its files are written as it shows them, its commands run in its order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infra.config import ROOT
from tests.integration.sinkbench import run as sql
from tests.integration.sinkbench import until

PAGE = ROOT / "docs" / "how-to" / "add-a-source.md"
_BLOCK = re.compile(r"(?:<!-- file: (\S+) -->\n)?^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str, str]]:
    """Blocks of the page in their order: file that is shown (or nothing), kind, text."""
    return [(match[1] or "", match[2], match[3]) for match in _BLOCK.finditer(PAGE.read_text(encoding="utf-8"))]


@pytest.mark.e2e
@pytest.mark.timeout(400)
def test_the_page_is_followed(kafka_server: str, postgres_server: Any, database: dict[str, Any], tmp_path: Path) -> None:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {
        **os.environ,
        "PATH": path,
        "NO_COLOR": "1",
        "PYTHONPATH": ".",
        "FLOWLAKE_SOURCES__PACKAGES": '["jobs.sources", "my_sources"]',
        "FLOWLAKE_HOME": str(tmp_path),
        # The servers of this run, a database and topics of its own.
        "FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS": kafka_server,
        "FLOWLAKE_KAFKA__TOPIC_PREFIX": f"page{uuid.uuid4().hex[:8]}.",
        **{
            f"FLOWLAKE_{store}__{key}": str(database[key.lower()])
            for store in ("HOT", "ALERTS")
            for key in ("HOST", "PORT", "USER", "DATABASE")
        },
        **{f"FLOWLAKE_{store}__PASSWORD": database["password"].get_secret_value() for store in ("HOT", "ALERTS")},
        "FLOWLAKE_METRICS__STREAM_PORT": "0",
    }

    def shell(text: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=150
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    said: list[str] = []
    log = tmp_path / "stream.log"
    stream: subprocess.Popen[bytes] | None = None
    try:
        for file, kind, text in blocks():
            if file:
                assert file.startswith("tests/toy_source/")
                (tmp_path / "my_sources" / "readings" / Path(file).name).write_text(text, encoding="utf-8")
            elif kind == "bash" and text.startswith("flowlake stream"):
                with log.open("wb") as out:
                    stream = subprocess.Popen(
                        ["bash", "-c", f"exec {text}"], cwd=tmp_path, env=environment, stdout=out, stderr=subprocess.STDOUT
                    )
            elif kind == "bash" and not text.startswith("make"):
                if text.startswith("flowlake readings show"):
                    until(partial(there, stream, log, database), 150)
                said.append(shell(text))
    finally:
        if stream is not None:
            stream.terminate()
            stream.wait(60)
    spoken = "\n".join(said)
    assert "flowlake readings send" in spoken, "flowlake sources lists it"
    assert "61 readings sent" in spoken
    assert "boiler-1" in said[-1]
    assert "SPIKE" in said[-1], "an alert about the one reading that is far off"
    assert (tmp_path / "var" / "lake" / "readings" / "_delta_log").is_dir()


def there(stream: subprocess.Popen[bytes] | None, log: Path, database: dict[str, Any]) -> bool:
    """Whether the readings, and the alert about one of them, have come to the stores."""
    from infra.sections import PostgresSettings

    assert stream is not None
    assert stream.poll() is None, log.read_text(errors="replace")[-3000:]
    where = PostgresSettings(**database)
    try:
        ((readings,),) = sql(where, "SELECT count(*) FROM sensor_readings")
        ((alerts,),) = sql(where, "SELECT count(*) FROM alerts")
    except Exception:
        return False
    return bool(readings == 61 and alerts)

"""Rows of the quarantine published again: they pass once their fault is mended, each once, and fail again where it is not."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.config import Settings
from infra.errors import BrokerError, ConfigError
from infra.process import free_port
from jobs.quality import replay
from jobs.quality import table as quarantine
from jobs.runtime import lake
from ops.cli import main
from schemas.packets import FLOWS
from tests.integration.sinkbench import Bench, drain
from tests.sinksdata import START, T0, flow_id

pytestmark = [pytest.mark.integration, pytest.mark.spark]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "check-the-data.md"
LATER = datetime.now(UTC) + timedelta(days=3)


def stored(settings: Settings, bench: Bench) -> tuple[list[str], list[str]]:
    there = lake.dataset(lake.location(settings, FLOWS)).to_table(columns=["flow_id"])["flow_id"].to_pylist()
    return sorted(there), sorted(row[0] for row in bench.sql("SELECT flow_id::text FROM network_flows"))


def patient(settings: Settings) -> Settings:
    """The fault mended: clocks may be ahead by ten days."""
    return settings.model_copy(update={"quality": settings.quality.model_copy(update={"ahead_s": 864_000})})


def written(settings: Settings, folder: Path) -> Path:
    conf = folder / "conf.yaml"
    kafka = settings.kafka.model_dump(include={"bootstrap_servers", "partitions", "topic_prefix", "replication_factor"})
    conf.write_text(yaml.safe_dump({"kafka": kafka, "lake": {"path": str(settings.path(settings.lake.path))}}))
    return conf


def flowlake(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main.main(list(words))
    return int(end.value.code or 0)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command prints, without what the queries logged before."""
    capsys.readouterr()
    assert flowlake(*words) == 0
    return capsys.readouterr().out


def test_rows_pass_when_their_fault_is_mended(spark: Any, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = bench.settings
    bench.rows([{"name": "good"}, {"name": "ahead", "start_time": LATER, "end_time": LATER}, {"name": "bad", "src_port": -1}])
    for name in ("lake", "hot"):
        drain(START[name], spark, settings)
    assert stored(settings, bench) == ([flow_id("good")],) * 2
    conf = ("--conf-file", str(written(settings, tmp_path)))
    expected = [{"record": "flows", "published": 0, "chosen": 2, "odd": 0}]
    found = json.loads(told(capsys, "quarantine", "replay", "--dry-run", "--json", *conf))
    assert [one for one in found if one["chosen"]] == expected
    assert "flows: 1 row published again" in told(capsys, "quarantine", "replay", "--reason", "time(", *conf)
    assert "flows: 0 rows published again" in told(capsys, "quarantine", "replay", "--reason", "time(", *conf), "each once"
    for name in ("lake", "hot"):
        drain(START[name], spark, patient(settings))
    assert stored(settings, bench) == (sorted([flow_id("good"), flow_id("ahead")]),) * 2

    rows = {row["rule"]: row for row in json.loads(told(capsys, "quarantine", "list", "--json", *conf))}
    assert set(rows) == {"time(start_time)", "range(src_port)"}
    assert rows["time(start_time)"]["replayed_at"] is not None
    assert rows["range(src_port)"]["replayed_at"] is None

    # What is not mended fails again: it is there again, once, however often a replay that was broken off is repeated.
    whole = replay.complete(rows["range(src_port)"]["value"], FLOWS)
    for _ in range(2):
        replay._publish(settings, FLOWS, whole, [rows["range(src_port)"]["id"]])
    replay.mark(settings, [rows["range(src_port)"]["id"]])
    for name in ("lake", "hot"):
        drain(START[name], spark, patient(settings))
    again = [row for row in quarantine.side(settings).dataset().to_table().to_pylist() if row["rule"] == "range(src_port)"]
    assert sorted(row["replayed_at"] is None for row in again) == [False, True]
    assert len(stored(settings, bench)[0]) == 2


def test_a_broker_that_is_away_marks_nothing(spark: Any, bench: Bench, tmp_path: Path) -> None:
    bench.rows([{"name": "bad", "src_port": -1}])
    drain(START["lake"], spark, bench.settings)
    nobody = bench.settings.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    conf = written(bench.settings.model_copy(update={"kafka": nobody}), tmp_path)
    assert flowlake("quarantine", "replay", "--conf-file", str(conf)) == BrokerError.exit_code
    assert [row["replayed_at"] for row in quarantine.side(bench.settings).dataset().to_table().to_pylist()] == [None]
    assert flowlake("quarantine", "list", "--stage", "nowhere", "--conf-file", str(conf)) == ConfigError.exit_code


def test_the_page_about_it(
    spark: Any, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command of the page, as it stands there, on a day with a fault."""
    day = {"start_time": T0, "end_time": T0}
    bench.rows([*({"name": n, **day} for n in range(5)), {"name": "bad", "src_port": -1, **day}])
    drain(START["lake"], spark, bench.settings)
    monkeypatch.setenv("FLOWLAKE_CONF", str(written(bench.settings, tmp_path)))
    said = []
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line)
            assert words[0] == "flowlake"
            # the hot store of these settings is nobody's: a person would have one
            more = ["--stage", "lake"] if words[1:3] == ["quality", "run"] and "--stage" not in words else []
            said.append(told(capsys, *words[1:], *more))
    assert "flows: 1 row would be published" in said[-2]
    assert "flows: 1 row published again" in said[-1]
    assert any("flows.lake 2026-03-01: 5 rows" in text for text in said)

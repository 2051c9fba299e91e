"""The bench of attacks that take hours, on windows whose scores are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from infra import config
from infra.errors import ConfigError
from jobs.metering.settings import MeterSettings
from jobs.scoring.model import ScoringModel
from jobs.training.labelled import LabelledFlows
from jobs.training.windowruns import Attack, LabelledWindows, WindowRun
from ops.bench.windowsdetection import JudgedRun, by_flows, judge, look, run, tables
from schemas.packets import FLOWS
from sensors.generate import preset


class FirstColumn:
    """Takes the first column for P(attack), always of a slow scan."""

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        p = x[:, 0].astype(float)
        return np.column_stack([1 - p, p, 0 * p])


MODEL = ScoringModel(FirstColumn(), ("packets_out",), ("BENIGN", "SLOW_SCAN", "SSH_BRUTE_FORCE"), 0.5, "1", "1", FLOWS)


def windows(*rows: tuple[str, str, int, float]) -> LabelledWindows:
    """Source, label, start and score of each."""
    host, y, begin, p = zip(*rows, strict=True)
    n = len(rows)
    flows = LabelledFlows(
        np.array(p, np.float32)[:, None], ("packets_out",), np.array(y), np.full(n, "1"), np.ones(n, bool), np.array(host)
    )
    return LabelledWindows(flows, np.array(begin), np.ones(n, bool))


def made(seconds: float, attacks: tuple[Attack, ...], **sizes: LabelledWindows) -> WindowRun:
    return WindowRun(1, seconds, 100, {int(size.removeprefix("s")): found for size, found in sizes.items()}, attacks)


SLOW = made(
    3600,
    (Attack("SLOW_SCAN", "a", 10, 350), Attack("SSH_BRUTE_FORCE", "b", 200, 300)),
    s30=windows(("a", "SLOW_SCAN", 0, 0.4), ("a", "SLOW_SCAN", 60, 0.9), ("b", "SSH_BRUTE_FORCE", 210, 0.2), ("a", "SLOW_SCAN", 900, 0.9)),
    s180=windows(("a", "SLOW_SCAN", 0, 0.9), ("a", "SLOW_SCAN", 180, 0.9), ("b", "SSH_BRUTE_FORCE", 180, 0.8), ("b", "BENIGN", 360, 0.9)),
)
QUIET = made(
    43_200,
    (),
    s30=windows(("c", "BENIGN", 0, 0.7), ("c", "BENIGN", 60, 0.7), ("d", "BENIGN", 0, 0.1)),
    s180=windows(("c", "BENIGN", 0, 0.6), ("d", "BENIGN", 0, 0.3)),
)


BOTH = {30: MODEL, 180: MODEL}


def judged(run: WindowRun, sizes: dict[int, ScoringModel] = BOTH) -> JudgedRun:
    return look(sizes, run)


def test_campaigns_windows_and_the_time_until_they_are_found() -> None:
    result = judge([judged(SLOW)], [judged(QUIET)])
    rows = {(row["kind"], row["size"]): row for row in result["kinds"]}
    assert list(rows) == [(kind, size) for kind in ("SLOW_SCAN", "SSH_BRUTE_FORCE") for size in ("30", "180", "all")]
    scan = rows["SLOW_SCAN", "30"]
    assert (scan["campaigns"], scan["recall"], scan["windows"], scan["recall_windows"], scan["median_s"]) == (1, 1.0, 2, 0.5, 80.0)
    assert rows["SLOW_SCAN", "180"]["median_s"] == 170.0
    assert rows["SLOW_SCAN", "all"]["median_s"] == 80.0, "the first of any size"
    assert rows["SLOW_SCAN", "all"]["windows"] == 4
    missed = rows["SSH_BRUTE_FORCE", "30"]
    assert (missed["recall"], missed["median_s"], missed["p90_s"]) == (0.0, None, None)
    assert (rows["SSH_BRUTE_FORCE", "180"]["recall"], rows["SSH_BRUTE_FORCE", "180"]["typed"]) == (1.0, 0.0)
    assert [table.row_count for table in tables(result)] == [6, 3]


def test_false_alarms_are_counted_by_day() -> None:
    result = judge([judged(SLOW)], [judged(QUIET)])
    assert [(row["size"], row["alarms"], row["per_day"]) for row in result["benign"]] == [("30", 1, 2.0), ("180", 1, 2.0), ("all", 1, 2.0)]
    assert result["benign"][-1]["of"] == ["SLOW_SCAN"]
    assert not result["met"], "two a day are too many"
    silent = windows(("d", "BENIGN", 0, 0.1))
    assert judge([judged(SLOW)], [judged(QUIET), judged(made(86_400, (), s30=silent, s180=silent))])["met"]


def test_a_kind_that_is_missed_is_not_enough() -> None:
    one = {30: MODEL}
    assert not judge([judged(SLOW, one)], [judged(made(86_400 * 9, (), s30=QUIET.windows[30]), one)])["met"]


@pytest.mark.parametrize(("seeds", "quiet", "words"), [([], [4001], "none"), ([1001], [4001], "1001"), ([3001], [2005], "2005")])
def test_seeds_that_models_are_trained_on_are_refused(tmp_path: Path, seeds: list[int], quiet: list[int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run(config.load(), seeds=seeds, quiet_seeds=quiet)


def test_the_command_has_a_quick_form() -> None:
    from ops.cli.bench import app

    shown = CliRunner().invoke(app, ["windows-detection", "--help"]).output
    assert "--quick" in shown
    assert "Example" in shown
    refused = CliRunner().invoke(app, ["windows-detection", "--seeds", "1001", "--quick"])
    assert isinstance(refused.exception, ConfigError)


def test_flows_of_the_same_run_are_judged_beside_the_windows() -> None:
    class Everything:
        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return np.tile([0.0, 1.0], (len(x), 1))

    scenario = preset("slow", duration_s=1500.0, seed=5, kinds=("SLOW_SCAN",), attack_share=1.0, slow="typical")
    model = ScoringModel(Everything(), ("flow_duration",), ("BENIGN", "SLOW_SCAN"), 0.5, "1", "1", FLOWS)
    found = by_flows(model, scenario, config.load().section(MeterSettings))
    assert (found.begin <= found.end).all()
    assert found.begin.min() >= scenario.start_ns / 1e9
    assert found.end.max() < scenario.end_ns / 1e9
    assert found.flows.attack.sum() > 60
    attack = Attack("SLOW_SCAN", str(found.flows.host[found.flows.attack][0]), scenario.start_ns / 1e9, scenario.end_ns / 1e9)
    result = judge([JudgedRun(1500.0, (attack,), (found,))], [JudgedRun(86_400.0, (), (found,))])
    flows, everything = result["kinds"]
    assert (flows["size"], flows["recall"], flows["recall_windows"], flows["typed"]) == ("flows", 1.0, 1.0, 1.0)
    assert (everything["size"], everything["windows"]) == ("all", 0), "sizes together, and flows are none"
    assert result["benign"][0]["alarms"] > 20

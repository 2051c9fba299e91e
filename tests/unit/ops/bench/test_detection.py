"""The bench of detection, on flows whose scores are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from infra import config
from infra.errors import ConfigError
from jobs.scoring.model import ScoringModel
from jobs.training.labelled import LabelledFlows, concat
from ops.bench import families
from ops.bench.detection import judge, run
from ops.bench.detectiontables import tables
from schemas.features import FEATURE_VERSION
from schemas.packets import FLOWS


class Given:
    """Takes the first column for P(attack)."""

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        p = x[:, 0].astype(float)
        return np.column_stack([1 - p, p])


def model(threshold: float = 0.5) -> ScoringModel:
    columns = ("flow_duration", "total_fwd_packets")
    return ScoringModel(Given(), columns, ("BENIGN", "SYN_SCAN"), threshold, FEATURE_VERSION, "3", FLOWS)


def part(label: str, n: int, p: float, packets: int, *, closed: bool = True, age: float = 0.1) -> LabelledFlows:
    x = np.tile(np.array([p, packets], np.float32), (n, 1))
    return LabelledFlows(
        x,
        ("flow_duration", "total_fwd_packets"),
        np.full(n, label),
        np.full(n, "1"),
        np.full(n, closed),
        age=np.full(n, age, np.float32),
    )


def test_closed_flows_and_snapshots_are_judged_apart() -> None:
    flows = concat(
        [
            part("BENIGN", 1000, 0.1, 1),
            part("BENIGN", 1, 0.6, 1),
            part("SYN_SCAN", 30, 0.9, 5),
            part("SYN_SCAN", 10, 0.2, 1),  # as a benign flow, and not found
            part("SLOW_SCAN", 4, 0.2, 6),
            part("BENIGN", 50, 0.1, 2, closed=False, age=0.5),
            part("SYN_SCAN", 3, 0.7, 2, closed=False, age=20),
        ]
    )
    result = judge(model(), flows)
    closed = result["closed"]
    assert (closed["benign"], closed["false_alarms"], closed["attacks"], closed["shown"]) == (1001, 1, 44, 34)
    assert closed["fpr"] == pytest.approx(1 / 1001, abs=1e-6)
    assert closed["fpr_95"][0] < closed["fpr"] < closed["fpr_95"][1]
    assert closed["recall"] == pytest.approx(30 / 44, abs=1e-6)
    assert closed["recall_shown"] == pytest.approx(30 / 34, abs=1e-6)
    assert result["snapshots"]["fpr"] == 0.0
    assert result["snapshots"]["recall"] == 1.0
    assert result["snapshots"]["recall_shown"] is None  # like the benign snapshots; the closed ones of two packets are no matter
    by_age = {row["age"]: row for row in result["ages"]}
    assert list(by_age) == ["0-0.3 s", "0.3-1 s", "1-10 s", "10 s and more", "closed"]
    assert by_age["0.3-1 s"]["benign"] == 50
    assert by_age["10 s and more"]["attacks"] == 3
    kinds = {row["kind"]: row for row in result["kinds"]}
    assert (kinds["SYN_SCAN"]["attacks"], kinds["SYN_SCAN"]["shown"], kinds["SYN_SCAN"]["recall_shown"]) == (40, 30, 1.0)
    assert (kinds["SLOW_SCAN"]["recall"], kinds["SLOW_SCAN"]["snapshots"]) == (0.0, 0)
    assert result["ceiling"] == pytest.approx(34 / 44, abs=1e-4)
    assert not result["met"]  # 30 of 34
    assert judge(model(0.15), flows)["met"]  # finds all 34, and still one false alarm in 1,001
    assert [table.row_count for table in tables(result)] == [5, 2]


def test_the_goal_is_reached_by_what_the_flows_show() -> None:
    flows = concat([part("BENIGN", 3000, 0.1, 1), part("SYN_SCAN", 99, 0.9, 5), part("SYN_SCAN", 1, 0.4, 5), part("SYN_SCAN", 50, 0.1, 1)])
    result = judge(model(), flows)
    assert result["met"]
    assert result["closed"]["recall"] == pytest.approx(99 / 150, abs=1e-6)
    assert not judge(model(), concat([flows, part("UDP_SCAN", 21, 0.2, 9)]))["met"]  # a kind is missed
    assert judge(model(), concat([flows, part("UDP_SCAN", 3, 0.2, 9)]))["met"]  # too few to judge a kind by


def test_the_common_threshold_keeps_the_rate_on_closed_flows_and_on_snapshots() -> None:
    flows = concat(
        [
            *(part("BENIGN", 1, 0.9 - i / 100, 1) for i in range(3)),
            part("BENIGN", 1997, 0.1, 1),
            part("BENIGN", 999, 0.1, 1, closed=False),
            part("BENIGN", 1, 0.95, 1, closed=False),
            part("SYN_SCAN", 10, 0.94, 5),
        ]
    )
    at = judge(model(), flows)["at_max_fpr"]
    assert at["closed"]["false_alarms"] <= 2
    assert at["snapshots"]["false_alarms"] <= 1
    assert at["closed"]["recall"] == 1.0
    assert 0.88 <= at["threshold"] < 0.9


def test_without_attacks_or_benign_flows_shares_are_left_out() -> None:
    assert judge(model(), part("BENIGN", 10, 0.1, 1))["closed"]["recall"] is None
    only = judge(model(), part("SYN_SCAN", 10, 0.9, 1))
    assert (only["closed"]["fpr"], only["closed"]["fpr_95"], only["closed"]["recall"]) == (None, None, 1.0)


@pytest.mark.parametrize(("seeds", "words"), [([], "none"), ([201, 201], "twice"), ([200, 103], "103")])
def test_seeds_that_say_nothing_are_refused(tmp_path: Path, seeds: list[int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run(config.load(), seeds=seeds)


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--seeds", "a-b"], "a-b"), (["--family", "forest", "--model", "1"], "--family and --model"), (["--family", "svm"], "svm")],
)
def test_the_command_refuses_options_that_mean_nothing(options: list[str], words: str) -> None:
    from ops.cli.bench import app

    result = CliRunner().invoke(app, ["detection", *options])
    assert isinstance(result.exception, ConfigError)
    assert words in str(result.exception)


def test_a_family_is_fitted_to_compare_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of the seeds chooses the threshold; the others train."""

    def some(seeds: Sequence[int], **_: object) -> LabelledFlows:
        rng = np.random.default_rng(seeds[0])
        each = [
            replace(part(label, n, 0.0, 0), x=rng.normal(mean, 1.0, (n, 2)).astype(np.float32), group=np.full(n, str(seed)))
            for seed in seeds
            for label, n, mean in (("BENIGN", 400, 0.0), ("SYN_SCAN", 200, 2.0))
        ]
        return concat(each)

    monkeypatch.setattr(families, "generated_flows", some)
    lines: list[str] = []
    made = families.fitted("forest", [1, 2, 3, 4, 5], seconds=1.0, max_fpr=0.02, settings=None, say=lines.append)
    assert lines[0] == "fitting forest to 2,400 records"
    last = some([1, 2, 3, 4, 5]).where(some([1, 2, 3, 4, 5]).group == "5")
    assert judge(made, last)["closed"]["false_alarms"] <= 7, "of 400, so that (7 + 1) / 401 are expected at most"
    assert 0.5 < judge(made, some([9]))["closed"]["recall"] < 1

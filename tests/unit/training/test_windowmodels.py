"""Windows of generated runs, and the models that are fitted to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from infra import config
from infra.config import Settings
from infra.errors import ConfigError
from jobs.scoring import registry
from jobs.training.alarms import allowed
from jobs.training.windowmodels import ALARMS_PER_DAY, SizeModel, WindowRuns, WindowTraining, generated_runs, scored, train_size
from jobs.training.windowruns import Attack, campaigns, joined
from schemas.labels import BENIGN
from schemas.windowrecords import WINDOWS
from schemas.windows import SIZES, WINDOW_NAMES
from sensors.generate.truth import TRUTH_SCHEMA

pytestmark = pytest.mark.slow  # it trains

TRAINING = WindowTraining(seeds=(1, 2, 3), hours=0.7, quiet_seeds=(4, 5, 6), quiet_hours=0.7)


@pytest.fixture(scope="module")
def runs() -> WindowRuns:
    return generated_runs(TRAINING, progress=lambda line: None)


@pytest.fixture(scope="module")
def model(runs: WindowRuns) -> SizeModel:
    return train_size(180, runs, WINDOWS[180], progress=lambda line: None)


@pytest.fixture(scope="module")
def again(runs: WindowRuns, settings: Settings) -> SizeModel:
    return train_size(180, runs, WINDOWS[180], settings=settings, progress=lambda line: None)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("registry")
    return config.build(scoring={"tracking_uri": f"sqlite:///{folder / 'mlflow.db'}", "artifact_root": str(folder / "artifacts")})


def test_all_sizes_together_are_given_less_than_an_alarm_a_day() -> None:
    assert set(ALARMS_PER_DAY) == set(SIZES)
    assert sum(ALARMS_PER_DAY.values()) < 1.0


def flow(label: str, host: str, begin: int, end: int) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(TRUTH_SCHEMA.names, 0)
    return row | {"label": label, "src_ip": host, "dst_ip": "x", "start_time": begin * 1_000_000, "end_time": end * 1_000_000}


def test_flows_that_follow_each_other_are_a_campaign() -> None:
    rows = [
        flow("SLOW_SCAN", "a", 1000, 1001),
        flow(BENIGN, "a", 0, 5000),
        flow("SLOW_SCAN", "a", 1800, 1900),
        flow("SLOW_SCAN", "b", 1100, 1100),
        flow("BOTNET_BEACON", "a", 1200, 1201),
        flow("SLOW_SCAN", "a", 2801, 2802),
    ]
    assert campaigns(pa.Table.from_pylist(rows, schema=TRUTH_SCHEMA)) == (
        Attack("SLOW_SCAN", "a", 1000.0, 1900.0),
        Attack("SLOW_SCAN", "b", 1100.0, 1100.0),
        Attack("BOTNET_BEACON", "a", 1200.0, 1201.0),
        Attack("SLOW_SCAN", "a", 2801.0, 2802.0),
    )


def test_windows_of_every_size_are_labelled(runs: WindowRuns) -> None:
    (run,) = runs.validating
    assert {attack.label for attack in run.attacks} == {"SLOW_SCAN", "SSH_BRUTE_FORCE", "FTP_BRUTE_FORCE", "BOTNET_BEACON"}
    for size in SIZES:
        windows = run.windows[size]
        assert windows.flows.columns == WINDOW_NAMES
        assert not (windows.begin % size).any()
        hosts = {attack.host for attack in run.attacks}
        assert set(windows.flows.host[windows.flows.attack].tolist()) <= hosts
        assert windows.certain[windows.flows.attack].all()
        assert set(windows.flows.host[~windows.certain].tolist()) <= hosts
        for attack in run.attacks:
            of = (windows.flows.host == attack.host) & (windows.flows.y == attack.label)
            assert of.any()
            assert attack.begin - size < windows.begin[of].min() <= windows.begin[of].max() <= attack.end
    assert not any(run.windows[size].flows.attack.any() or not run.windows[size].certain.all() for run in runs.quiet for size in SIZES)


def test_no_seed_is_on_two_sides(runs: WindowRuns) -> None:
    parts = [[run.seed for run in part] for part in (runs.fitting, runs.validating, runs.quiet)]
    assert parts == [[1, 2, 4], [3], [5, 6]]


def test_benign_days_choose_the_threshold(runs: WindowRuns, model: SizeModel) -> None:
    quiet = joined([run.windows[180] for run in runs.quiet])
    p, who = scored(model.fitted.model, quiet)
    assert allowed(1 / 3, 1.4 / 24) == 0
    assert p.max() == model.below < model.fitted.model.threshold
    assert {kind for *_, kind in who} <= {attack.label for run in runs.fitting for attack in run.attacks}, "each has a type, flagged or not"
    assert model.quality.recall > 0.3
    assert model.version is None
    assert "0 false alarms on them" in model.fitted.notes[-1]


def test_the_same_runs_give_the_same_model(runs: WindowRuns, model: SizeModel, again: SizeModel) -> None:
    assert again.fitted.model.threshold == model.fitted.model.threshold
    windows = runs.validating[0].windows[180]
    assert np.array_equal(scored(again.fitted.model, windows)[0], scored(model.fitted.model, windows)[0])


def test_it_is_registered_with_its_threshold(runs: WindowRuns, settings: Settings, again: SizeModel) -> None:
    loaded = registry.load_version(settings, WINDOWS[180], str(again.version))
    assert (loaded.version, loaded.threshold, loaded.columns) == (again.version, again.fitted.model.threshold, again.fitted.model.columns)
    windows = runs.quiet[0].windows[180]
    assert np.array_equal(scored(loaded, windows)[0], scored(again.fitted.model, windows)[0])


def test_more_false_alarms_find_more(runs: WindowRuns, model: SizeModel) -> None:
    said: list[str] = []
    loose = train_size(180, runs, WINDOWS[180], alarms_per_day=200.0, progress=said.append)
    assert "fitting to" in said[0]
    assert any("choosing the threshold by" in line for line in said), "each step is told when it begins"
    assert loose.below < model.below
    assert loose.quality.recall >= model.quality.recall


def test_too_few_seeds_are_refused() -> None:
    with pytest.raises(ConfigError, match="two seeds"):
        replace(TRAINING, seeds=(1, 1))
    with pytest.raises(ConfigError, match="two benign"):
        replace(TRAINING, quiet_seeds=(1,))

"""The driver's look at a real registry, without a stream: what is in force at the start, and what becomes of a challenger."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from mlflow import MlflowClient
from sklearn.ensemble import RandomForestClassifier

from infra import config, metrics
from infra.config import Settings
from infra.errors import ModelError
from infra.sections import ScoringSettings
from jobs.scoring import outlook, registry
from jobs.scoring.handout import Offer
from jobs.scoring.keeper import Keeper
from jobs.scoring.modelset import MOST_FAILURES, ModelSet
from jobs.scoring.registry import ModelMissingError, Training, register
from schemas.labels import BENIGN
from schemas.packets import FLOWS

pytestmark = pytest.mark.integration


class Bound:
    """A registry, and a keeper of its models."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sets: list[ModelSet] = []
        self.keeper = self.another()

    @property
    def client(self) -> MlflowClient:
        """Once there is a registry: MLflow waits for one for minutes."""
        return MlflowClient(registry.tracking_uri(self.settings), registry.tracking_uri(self.settings))

    def another(self) -> Keeper:
        """A keeper of a driver that starts."""
        return Keeper(self.settings, FLOWS, self._put)

    def _put(self, offer: Offer) -> None:
        self.sets.append(pickle.loads(offer.body))

    def register(self, trees: int = 2, alias: str = "") -> str:
        x = np.arange(40).reshape(20, 2)
        forest = RandomForestClassifier(trees, random_state=1).fit(x, [BENIGN, "SYN_SCAN"] * 10)
        columns = ("flow_duration", "total_fwd_packets")
        version = register(self.settings, FLOWS, forest, columns=columns, threshold=0.5, training=Training("a test", {}, {}))
        if alias:
            self.name(version, alias)
        return version

    def name(self, version: str, alias: str = "champion") -> None:
        self.client.set_registered_model_alias(self.settings.scoring.model_name, alias, version)

    def spoil(self, version: str) -> None:
        tags = self.client.get_model_version(self.settings.scoring.model_name, version).tags
        (self.settings.path(self.settings.scoring.artifact_root) / tags["artifact_path"] / "model.skops").write_bytes(b"no")

    def view(self) -> outlook.ModelView:
        (view,) = outlook.views(self.settings)
        return view

    def in_force(self) -> list[str | None]:
        last = self.sets[-1]
        return [last.champion.version, last.challenger.version if last.challenger else None]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of one version: MLflow takes seconds to make a database, and none to copy one."""
    folder = tmp_path_factory.mktemp("origin")
    at = {"tracking_uri": f"sqlite:///{folder / 'mlflow.db'}", "artifact_root": str(folder / "artifacts")}
    Bound(config.build(scoring=ScoringSettings(**at))).register()
    return folder


@pytest.fixture
def bind(settings: Callable[..., Settings], origin: Path) -> Callable[..., Bound]:
    def made(**scoring: float) -> Bound:
        built = settings(scoring=scoring)
        shutil.copytree(origin, built.path("var/mlflow"))
        return Bound(built)

    return made


@pytest.fixture
def bound(bind: Callable[..., Bound]) -> Bound:
    return bind()


def test_a_driver_starts_with_the_champion_or_not_at_all(bound: Bound, settings: Callable[..., Settings]) -> None:
    with pytest.raises(ModelMissingError, match="no model registry"):
        Bound(settings(scoring={"tracking_uri": "sqlite:///var/none.db"})).keeper.begin()
    with pytest.raises(ModelMissingError, match="is champion yet"):
        bound.keeper.begin()
    bound.spoil(bound.register(alias="champion"))
    with pytest.raises(ModelError, match="corrupt artefact"):
        bound.keeper.begin()
    assert bound.sets == []
    good = bound.register(alias="champion")
    bound.keeper.begin()
    assert bound.in_force() == [good, None]
    # The next champion is damaged, and the driver starts again: what was in force before, is.
    bad = bound.register(alias="champion")
    bound.spoil(bad)
    bound.sets.clear()
    bound.another().begin()
    assert bound.in_force() == [good, None]
    assert [(one.version, one.role) for one in bound.view().refused] == [(bad, "champion")]


def test_a_slow_champion_is_better_than_none(bind: Callable[..., Bound]) -> None:
    bound = bind(max_ms_per_1000=1e-6)
    only = bound.register(alias="champion")
    with structlog.testing.capture_logs() as logs:
        bound.keeper.begin()
    assert bound.in_force() == [only, None]
    assert any("slow" in line["event"] for line in logs)
    bound.register(alias="champion")
    bound.keeper.look()
    assert bound.in_force() == [only, None]
    assert "scoring.max_ms_per_1000" in bound.view().problems[0]


def test_a_large_model_is_refused(bind: Callable[..., Bound]) -> None:
    bound = bind(max_mb=0.001)
    bound.register(alias="champion")
    with pytest.raises(ModelError, match=r"MB are more than scoring.max_mb \(0.001\)"):
        bound.keeper.begin()


def test_a_challenger_comes_fails_and_is_taken_back(bound: Bound) -> None:
    first, second, third = (bound.register(trees) for trees in (1, 2, 3))
    bound.name(first)
    bound.name(second, "challenger")
    bound.keeper.begin()
    assert bound.in_force() == [first, second]
    bound.keeper.failed(second, MOST_FAILURES - 1)
    assert bound.in_force() == [first, second]
    bound.keeper.failed(third, 100)  # of one that does not score any more
    bound.keeper.failed(second, 1)
    assert bound.in_force() == [first, None]
    bound.keeper.look()
    assert bound.in_force() == [first, None], "refused until another has the alias"
    assert "failed in 3 tasks" in bound.view().problems[0]
    bound.name(third, "challenger")
    bound.keeper.look()
    assert bound.in_force() == [first, third]
    bound.name(third)  # promoted: it is its own challenger no longer
    bound.keeper.look()
    assert bound.in_force() == [third, None]
    assert bound.view().problems == []


def test_a_damaged_challenger_stops_nothing(bound: Bound) -> None:
    first = bound.register(alias="champion")
    bound.spoil(bound.register(alias="challenger"))
    bound.keeper.begin()
    assert bound.in_force() == [first, None]
    assert bound.view().refused[0].role == "challenger"


def test_what_stays_so_is_told_once(bound: Bound) -> None:
    bound.register(alias="champion")
    bound.keeper.begin()
    bound.spoil(bound.register(alias="champion"))
    file: Any = bound.settings.path("var/mlflow/mlflow.db")
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            bound.keeper.look()
        file.rename(file.with_suffix(".away"))
        for _ in range(3):
            bound.keeper.look()
        assert metrics.REGISTRY.get_sample_value("flowlake_model_registry_away", {"record": "flows"}) == 1
        file.with_suffix(".away").rename(file)
        for _ in range(3):
            bound.keeper.look()
        bound.client.delete_registered_model_alias(bound.settings.scoring.model_name, "champion")
        for _ in range(3):
            bound.keeper.look()
    assert [line["event"] for line in logs] == [
        "model refused",
        "model registry is away: the models stay",
        "model registry is back",
        "nothing has the champion's alias any more: the model stays",
    ]
    assert metrics.REGISTRY.get_sample_value("flowlake_model_registry_away", {"record": "flows"}) == 0
    assert len(bound.sets) == 1

"""The state of a retraining that is damaged, and its frozen records that are not what they were."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.config import Settings
from infra.errors import ConfigError, ModelError
from jobs.models import material, retraining, runpage, runstate
from jobs.models.retraining import RetrainOptions, retrain
from jobs.training import heldout
from jobs.training.sources import Sourced
from schemas.packets import FLOWS
from tests.modelversions import labelled

OPTIONS = RetrainOptions("generated", (1, 2, 3))


@pytest.fixture
def made(settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Runs of no step."""
    monkeypatch.setattr(retraining, "STEPS", {})
    monkeypatch.setattr(runpage, "write", lambda run: run.folder / runpage.PAGE)
    return settings(paths={"var": str(tmp_path)})


@pytest.mark.parametrize("state", ["", "{", "null", "[]", "{}", '{"record":"flows","options":[],"started":"","steps":{},"closed":false}'])
def test_a_state_that_cannot_be_read_is_given_up_where_that_is_asked(made: Settings, state: str) -> None:
    broken = runstate.begin(made, FLOWS, OPTIONS.plain())
    (broken.folder / runstate.STATE).write_text(state)
    with pytest.raises(ModelError, match=r"state\.json is unreadable") as e:
        retrain(made, FLOWS, OPTIONS)
    assert "--new" in e.value.hint
    told: list[str] = []
    run = retrain(made, FLOWS, OPTIONS, anew=True, progress=told.append)
    assert run.closed
    assert run.folder != broken.folder
    assert "is given up" in told[0]
    assert runstate.unfinished(made, FLOWS) is None


def test_a_state_of_another_record_type_that_cannot_be_read_hinders_nobody(made: Settings) -> None:
    folder = runstate.place(made) / "99991231T000000.000000-exported_flows"
    folder.mkdir(parents=True)
    (folder / runstate.STATE).write_text("{")
    assert runstate.unfinished(made, FLOWS) is None


def test_frozen_records_are_those_that_were_frozen(tmp_path: Path) -> None:
    flows = labelled(50)
    file = heldout.write(tmp_path, flows, name=material.RECORDS)
    Sourced(flows, "some records", "1").write(tmp_path)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    found = material.frozen(tmp_path, sha256)
    assert found is not None
    assert (len(found.flows), found.version) == (50, "1")
    assert material.frozen(tmp_path, None) is None
    (tmp_path / "data.json").unlink()
    with pytest.raises(ModelError, match=r"data\.json: unreadable"):
        material.frozen(tmp_path, sha256)
    heldout.write(tmp_path, labelled(40), name=material.RECORDS)
    with pytest.raises(ModelError, match="is not what was frozen") as e:
        material.frozen(tmp_path, sha256)
    assert "--new" in e.value.hint
    file.unlink()
    with pytest.raises(ModelError, match="is gone"):
        material.frozen(tmp_path, sha256)


def test_what_cannot_be_trained_is_known_before_the_work(made: Settings) -> None:
    with pytest.raises(ConfigError, match="seeds 1,1,2: three distinct ones"):
        retrain(made, FLOWS, RetrainOptions("generated", (1, 1, 2)))
    odd = made.model_copy(update={"retrain": made.retrain.model_copy(update={"family": "deep"})})
    with pytest.raises(ConfigError, match=r"retrain\.family 'deep'") as e:
        retrain(odd, FLOWS, OPTIONS)
    assert "boosted" in e.value.hint
    assert not list(runstate.place(made).glob("*/*"))

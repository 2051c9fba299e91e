"""Where the profile of a training comes from: of a registry that cannot be asked nothing is concluded."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from infra.errors import ModelError
from jobs.scoring import tracking
from jobs.watching import baseline, reference
from schemas.packets import FLOWS
from tests.modelversions import local, put
from tests.unit.watching.test_reference import champion, flows


def test_a_registry_that_is_damaged_is_not_one_without_a_profile(tmp_path: Path) -> None:
    settings = local(tmp_path)
    assert baseline._profile(settings, FLOWS, "1", print) is None, "there is no registry"
    put(settings)
    assert baseline._profile(settings, FLOWS, "1", print) is None, "the version has none"
    assert baseline._profile(settings, FLOWS, "77", print) is None, "there is no such version"
    with tracking.opened(settings, create=False) as client, tempfile.TemporaryDirectory() as folder:
        file = reference.write_profile(Path(folder), champion(), flows())
        client.log_artifact(tracking.by_number(client, settings, FLOWS, "1").run_id, str(file))
    found = baseline._profile(settings, FLOWS, "1", print)
    assert found is not None
    assert found.source == reference.TRAINING
    (tmp_path / "mlflow.db").write_bytes(b"no database any more" * 100)
    with pytest.raises(ModelError, match="file is not a database"):
        baseline._profile(settings, FLOWS, "1", print)

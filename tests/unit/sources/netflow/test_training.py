"""A model of exported flows, of traffic that is generated, exported and decoded again."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from infra import config
from infra.errors import ConfigError
from jobs.sources.netflow.exporting import ExportKind, ExportOptions
from jobs.sources.netflow.training import ExportTraining, exported_run, train
from schemas.labels import BENIGN

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("kind", "sampling"), [(ExportKind.V9, 1), (ExportKind.IPFIX, 5)])
def test_every_record_has_a_label_and_answers_are_benign(kind: ExportKind, sampling: int) -> None:
    made, labels = exported_run(3, ExportOptions(kind, sampling), 10.0, config.build())
    assert made.num_rows == len(labels) > 500
    assert labels.null_count == 0
    attacks = made.filter(pc.not_equal(labels, BENIGN))
    assert attacks.num_rows > 50
    assert set(attacks["toward_server"].to_pylist()) <= {0, 1}
    ports = made.filter(pa.array([p in (1, 58) for p in made["protocol"].to_pylist()]))
    assert set(ports["dst_port"].to_pylist()) <= {0}, "ICMP has none"


def test_the_same_seeds_give_the_same_model() -> None:
    settings = config.build()
    told: list[str] = []
    one, other = (train(ExportTraining((1, 2), 10.0), settings, register=False, progress=told.append, max_fpr=0.01) for _ in range(2))
    assert one.quality == other.quality
    assert one.fitted.model.threshold == other.fitted.model.threshold
    assert one.quality.recall > 0.3
    assert one.version is None
    assert sum(line.startswith("seed ") for line in told) == 4


def test_one_seed_is_too_few() -> None:
    with pytest.raises(ConfigError, match="two seeds"):
        ExportTraining((5,))

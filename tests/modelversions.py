"""Registered versions for the tests: good, noisy and blind ones, with held-out records beside them; and a real MLflow server."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from infra import config
from infra.config import Settings
from infra.process import free_port
from jobs.scoring.matrix import feature_matrix
from jobs.scoring.registry import Training, register
from jobs.training import heldout
from jobs.training.labelled import LabelledFlows
from schemas.packets import FLOWS
from tests import registries
from tests.champions import crown
from tests.randomrecords import random_records
from tests.unit.scoring.records import COLUMNS


def labelled(n: int = 3000, seed: int = 11) -> LabelledFlows:
    """Records of three labels, told apart by two columns without any noise."""
    x = feature_matrix(random_records(n, seed=seed), COLUMNS)
    fwd, syn = x[:, 1], x[:, 3]
    y = np.where(fwd < 50, "BENIGN", np.where(syn < 50, "SYN_SCAN", "UDP_FLOOD"))
    return LabelledFlows(x, COLUMNS, y, np.full(n, "1"), np.ones(n, dtype=bool))


def put(
    settings: Settings,
    *,
    blind: str = "",
    noise: float = 0.0,
    promote: bool = False,
    held_out: LabelledFlows | None = None,
    trees: int = 15,
) -> str:
    """Register a version: ``blind`` to a label, or with a share of benign records taken for attacks; its number."""
    flows = labelled(2000, seed=5)
    y = np.where(flows.y == blind, "BENIGN", flows.y)
    flip = np.random.default_rng(1).random(len(y)) < noise
    y[flip] = "UDP_FLOOD"
    forest = RandomForestClassifier(trees, max_depth=8, random_state=3, n_jobs=1).fit(flows.x, y)
    with tempfile.TemporaryDirectory() as temp:
        card = Path(temp) / "card.html"
        card.write_text("<html>a card</html>")
        files = [card, *([heldout.write(Path(temp), held_out)] if held_out is not None else [])]
        tags = {"data_version": "seed 5", "threshold_rule": "half", "card": card.name}
        training = Training("random records", {"n": len(y)}, {"held_out_recall": 0.5}, files, tags)
        version = register(registries.begin(settings), FLOWS, forest, columns=COLUMNS, threshold=0.5, training=training)
        return crown(settings, version) if promote else version


def local(folder: Path, **sections: object) -> Settings:
    """Settings whose registry lies in ``folder``."""
    places = {"tracking_uri": f"sqlite:///{folder / 'mlflow.db'}", "artifact_root": str(folder / "artifacts")}
    return config.build(scoring=places, **sections)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A real MLflow server on loopback, its store in a folder; its address."""
    port = free_port()
    log = folder / "server.log"
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder / "files")),
            ],
            stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
        )  # fmt: skip
    try:
        _answers(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def _answers(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"mlflow server does not answer: {log.read_text(errors='replace')[-2000:]}")

"""A retraining in a process of its own, that is killed right after a step."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from infra import config
from infra.config import Settings


def made(folder: Path, **retraining: object) -> Settings:
    """Settings whose registry, lake and runs lie in ``folder``. Of few records some false alarms are a high rate."""
    return config.build(
        scoring={"tracking_uri": f"sqlite:///{folder / 'mlflow.db'}", "artifact_root": str(folder / "artifacts")},
        lake={"path": str(folder / "lake" / "flows")},
        paths={"var": str(folder / "var")},
        gates={"max_fpr": 0.2, "recall_margin": 0.1, "ece_margin": 0.2},
        retrain={"shadow_rows": 100, "shadow_hours": 1, "family": "forest", "splits": ["attack"], **retraining},
    )


def until(folder: Path, step: str) -> None:
    """Retrain from the lake; killed when what came of a step is kept."""
    from jobs.models.retraining import RetrainOptions, retrain
    from schemas.packets import FLOWS

    def told(line: str) -> None:
        if line == f"{step}: done":
            os.kill(os.getpid(), signal.SIGKILL)

    retrain(made(folder, auto_promote=True), FLOWS, RetrainOptions(), progress=told)

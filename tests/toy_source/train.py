"""A model of readings, trained on readings that are made up: ordinary ones, spikes, and devices that are stuck."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from infra.config import Settings
from jobs.models.newcomer import settle
from jobs.models.request import PromotionRequest
from jobs.scoring.explain import usual_values
from jobs.scoring.registry import Training, register

from .judge import History, Reading, judge
from .records import FEATURES, READING

#: Repetitions of a value that make a device stuck.
STUCK = 5


def made_up(devices: int, readings: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features ``float32[n, k]`` and labels ``str[n]`` of devices whose noise, spikes and standstills are drawn at random."""
    rng = np.random.default_rng(seed)
    x: list[list[float]] = []
    y: list[str] = []
    for _ in range(devices):
        level, noise = rng.uniform(-50, 50), rng.uniform(0.1, 2)
        history, stuck = History(), 0
        for i in range(readings):
            spike = i > 20 and rng.random() < 0.03
            stuck = stuck - 1 if stuck else 12 * int(i > 20 and rng.random() < 0.02)
            value = history.last if stuck else level + rng.normal() * noise + spike * rng.choice((-1, 1)) * rng.uniform(10, 40) * noise
            history, record = judge(history, Reading("d", (i + 1) * 1_000_000, float(value)))
            assert record is not None
            x.append([float(record[name]) for name in FEATURES])
            y.append("STUCK" if record["repeats"] >= STUCK else "SPIKE" if spike and not stuck else "BENIGN")
    return np.array(x, np.float32), np.array(y)


def train(settings: Settings, seed: int = 1) -> tuple[str, float]:
    """Train and register, as champion where there is none; version and share of right labels among readings not trained on.

    Raises
    ------
    ModelError
        The registry cannot be reached.
    """
    columns = ("zscore", "delta", "repeats")
    at = [FEATURES.index(name) for name in columns]
    x, y = made_up(60, 400, seed)
    forest = RandomForestClassifier(n_estimators=30, max_depth=8, class_weight="balanced", random_state=seed).fit(x[:, at], y)
    other_x, other_y = made_up(20, 400, seed + 1)
    right = float((forest.predict(other_x[:, at]) == other_y).mean())
    about = Training(f"{len(y)} readings made up with seed {seed}", {"seed": seed}, {"accuracy": right})
    usual = usual_values(x[y == "BENIGN"][:, at], columns)
    version = register(settings, READING, forest, columns=columns, threshold=0.5, training=about, usual=usual)
    settle(settings, READING, version, PromotionRequest())
    return version, right

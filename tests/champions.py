"""A champion that is quickly made, for streams whose scores do not matter."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from infra.config import Settings
from jobs.scoring import aliases, tracking
from jobs.scoring.registry import Training, register
from schemas.labels import BENIGN
from schemas.packets import FLOWS
from schemas.records import RecordType
from tests import registries


def crown(settings: Settings, version: str, record: RecordType = FLOWS) -> str:
    """Make a version the champion, whatever the gates would say; the version."""
    alias = settings.scoring.alias
    with tracking.opened(settings, create=False) as client:
        before = aliases.holder(client, settings, record, alias)
        aliases.change(client, settings, record, aliases.AliasChange("promote", alias, before, version, why="a test"))
    return version


def promote_any(settings: Settings, record: RecordType = FLOWS, columns: tuple[str, str] = ("flow_duration", "total_fwd_packets")) -> None:
    """Register a small forest of two columns and make it the champion."""
    x = np.arange(40).reshape(20, 2)
    forest = RandomForestClassifier(3, random_state=1).fit(x, [BENIGN, "SYN_SCAN"] * 10)
    begun = registries.begin(settings)
    version = register(begun, record, forest, columns=list(columns), threshold=0.5, training=Training("a test", {}, {}))
    crown(begun, version, record)

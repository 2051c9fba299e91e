"""Counters of blocks (:mod:`infra.metrics`)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from infra.metrics import REGISTRY

BLOCKS = Counter(
    "flowlake_blocks", "Blocks asked for, by what came of it: active, dry_run, failed, refused", ["state", "asked_by"], registry=REGISTRY
)
HOLDING = Gauge("flowlake_blocks_holding", "Blocks that hold now", ["responder"], registry=REGISTRY)
MENDED = Counter(
    "flowlake_blocks_mended", "Addresses that the responder held otherwise than the database", ["responder"], registry=REGISTRY
)

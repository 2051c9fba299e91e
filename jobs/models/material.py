"""What a retraining learns from, frozen in the folder of its run: records with labels, a part of them held out for the gates."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.config import Settings
from infra.errors import ConfigError, ModelError
from infra.plurals import counted
from jobs.evaluation import leaks
from jobs.training import heldout
from jobs.training.labelled import LabelledFlows
from jobs.training.sources import Sourced, TrainingData, load
from schemas.records import RecordType

LAKE, GENERATED = "lake", "generated"
RECORDS = "records.parquet"
#: Share of each label's records that no training sees.
_HELD_OUT = 0.2
_SEED = 7


def check(source: str) -> None:
    """See that a source is there, before a run begins with it.

    Raises
    ------
    ConfigError
        It is none of the words, and no file.
    """
    if source not in (LAKE, GENERATED) and not Path(source).exists():
        near = get_close_matches(source, (LAKE, GENERATED), 1)
        raise ConfigError(f"--from {source}: no such file", f"did you mean {near[0]}?" if near else f"{LAKE}, {GENERATED}, or a file")


def asked(source: str, record: RecordType) -> TrainingData:
    """The training data that a source names: ``lake``, or a file."""
    return TrainingData("lake", record=record) if source == LAKE else TrainingData(records=(source,), record=record)


def freeze(settings: Settings, record: RecordType, source: str, folder: Path) -> dict[str, Any]:
    """Put the labelled records of a source into a folder: those to learn from, and those held out.

    Parameters
    ----------
    settings
        Where the lake is.
    record
        What is learned.
    source
        ``lake``: the records that the table of labels knows; ``generated``: nothing to freeze, the seeds say all; else a file.
    folder
        Of the run.

    Returns
    -------
    What was found, for the state of the run.

    Raises
    ------
    StoreError
        The lake cannot be read.
    ModelError
        The file cannot be read, or there are too few labels.
    """
    if source == GENERATED:
        return {"source": source}
    found = load(settings, asked(source, record))
    out = held_out_rows(found.flows)
    learned, held_out = found.flows.where(~out), found.flows.where(out)
    told = replace(found, flows=learned, notes=(*found.notes, f"{counted(len(held_out), 'record')} held out for the gates"))
    file = heldout.write(folder, learned, most=len(learned), name=RECORDS)
    heldout.write(folder, held_out, most=len(held_out))
    told.write(folder)
    return {
        "source": source,
        "data": told.data,
        "data_version": told.version,
        "records": len(learned),
        "held_out": len(held_out),
        "labels": dict(sorted(Counter(found.flows.y.tolist()).items())),
        "notes": list(told.notes),
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }


def frozen(folder: Path, sha256: str | None) -> Sourced | None:
    """What was frozen to learn from, of this checksum; None: nothing, the traffic is generated.

    Raises
    ------
    ModelError
        The file is gone, damaged, or another than was frozen.
    """
    file = folder / RECORDS
    if sha256 is None:
        return None
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
        gone = "is gone" if not file.is_file() else "is not what was frozen"
        raise ModelError(
            f"{file} {gone}: this run would learn from other records than its page says", "begin anew: flowlake models retrain --new"
        )
    return Sourced.read(folder, heldout.read(file))


def held_out_rows(flows: LabelledFlows) -> npt.NDArray[np.bool_]:
    """bool[n]: a fifth of each label's records, drawn at random, the same at each call; at least one where there are two.

    Records that are alike in all their features stay together: what is held out is in no training.

    Raises
    ------
    ModelError
        No label has two different records.
    """
    rng = np.random.default_rng(_SEED)
    identity = leaks.identities(flows)
    out = np.zeros(len(flows), dtype=bool)
    for label in np.unique(flows.y).tolist():
        alike = rng.permutation(np.unique(identity[flows.y == label]))
        if len(alike) > 1:
            out |= np.isin(identity, alike[: max(1, int(_HELD_OUT * len(alike)))])
    if not out.any():
        raise ModelError(f"{len(flows):,} labelled records: too few to hold some out", "label more: flowlake labels export, then import")
    return out

"""Where training records come from: a lake at a version, files of Parquet or CSV; sampled, and what was done said."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from infra.config import Settings
from infra.errors import ConfigError, ModelError, one_line
from jobs.runtime import lake
from jobs.training import reading
from jobs.training.labelled import LabelledFlows
from jobs.training.lake import FromLake, Versions, read_lake
from jobs.training.sampling import MOST, Sample, Stratum
from schemas.labels import BENIGN
from schemas.packets import FLOWS
from schemas.records import RecordType

Origin = Literal["", "lake", "parquet", "csv", "generated"]
ORIGINS: tuple[str, ...] = tuple(name for name in get_args(Origin) if name)
Engine = Literal["auto", "local", "spark"]
ENGINES: tuple[str, ...] = get_args(Engine)
#: File of an account of records (:meth:`Sourced.write`).
DATA = "data.json"


@dataclass(frozen=True)
class TrainingData:
    """Which records a training asks for.

    Attributes
    ----------
    origin
        Where they are; "" for what ``records`` are: a Delta table, CSV files or Parquet files.
    records
        Files or folders; of a lake the table, default: that of the settings.
    record
        What they are.
    as_of
        Version of the lake's table: a number, a time, or what a training has recorded.
    labels
        Truth table for a lake's records.
    most
        Records of a label at most.
    seed
        Of the sample.
    engine
        Who reads a lake: ``auto`` takes Spark from :data:`jobs.training.lake.DIRECT_ROWS` rows on.
    """

    origin: Origin = ""
    records: tuple[str, ...] = ()
    record: RecordType = FLOWS
    as_of: str = ""
    labels: Path | None = None
    most: int = MOST
    seed: int = 7
    engine: Engine = "auto"


@dataclass(frozen=True)
class Sourced:
    """Labelled records for a training, and where they come from.

    Attributes
    ----------
    flows
        Of at least one attack and of ``BENIGN``.
    data
        A sentence on where they come from.
    version
        What was read: versions of tables (:class:`jobs.training.lake.Versions`), or a checksum of the files.
    strata
        How many of each label and day were there and taken.
    notes
        What was dropped and noticed, a line each.
    files
        That were read, as they were named; none of a lake's table.
    """

    flows: LabelledFlows
    data: str
    version: str
    strata: tuple[Stratum, ...] = ()
    notes: tuple[str, ...] = field(default=())
    files: tuple[str, ...] = ()

    def write(self, folder: Path) -> Path:
        """Write :data:`DATA`: where the records come from, how many there were and what each stands for."""
        file = folder / DATA
        strata = [{**asdict(s), "weight": round(s.weight, 4)} for s in self.strata]
        about = {"data": self.data, "data_version": self.version, "files": self.files, "notes": self.notes, "strata": strata}
        file.write_text(json.dumps(about, indent=1), encoding="utf-8")
        return file

    @classmethod
    def read(cls, folder: Path, flows: LabelledFlows) -> Sourced:
        """The account that a folder has of these records.

        Raises
        ------
        ModelError
            It cannot be read.
        """
        try:
            about = json.loads((folder / DATA).read_text(encoding="utf-8"))
            return cls(flows, about["data"], about["data_version"], strata_of(about), tuple(about["notes"]), tuple(about.get("files", ())))
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise ModelError(f"{folder / DATA}: unreadable: {one_line(e)}", "begin anew: flowlake models retrain --new") from e


def strata_of(about: Mapping[str, Any]) -> tuple[Stratum, ...]:
    """The strata in what :meth:`Sourced.write` has written."""
    return tuple(Stratum(one["label"], one["day"], one["seen"], one["kept"]) for one in about["strata"])


def load(settings: Settings, wanted: TrainingData, progress: Callable[[str], None] = lambda line: None) -> Sourced:
    """Read what a training asks for.

    Raises
    ------
    ConfigError
        Options that do not go together.
    ModelError
        The records cannot be used: no labels, one class only, columns missing or of another type, no such file or version.
    StoreError
        The lake cannot be read.
    """
    origin = kind_of(wanted)
    sample, files = Sample(wanted.most), list[Path]()
    if origin == "lake":
        as_of = Versions.parse(wanted.as_of, wanted.record)
        place = wanted.records[0] if wanted.records else lake.location(settings, wanted.record)
        source = FromLake(place, wanted.record, as_of, wanted.labels, wanted.engine)
        versions, notes = read_lake(settings, source, wanted.seed, sample, progress)
        version, data = versions.text(wanted.record), f"labelled records of the lake, {Path(place).name} version {versions.table}"
    else:
        places = [Path(place) for place in wanted.records]
        files = reading.found(origin, places)
        notes = [
            *reading.left_out(origin, places),
            *reading.read_files(origin, files, wanted.record, wanted.seed, sample, progress),
        ]
        version = f"sha256:{_checksum(files)}"
        data = "labelled records " + (files[0].name if len(files) == 1 else f"of {len(files)} files, the first {files[0].name}")
    flows, strata = _usable(sample, data, notes)
    return Sourced(flows, data, version, strata, tuple(notes), tuple(map(str, files)))


def kind_of(wanted: TrainingData) -> Literal["lake", "parquet", "csv"]:
    """Where the records are: as is said, or by what they are.

    Raises
    ------
    ConfigError
        Options that do not go together.
    """
    if any(not place.strip() for place in wanted.records):
        raise ConfigError("--records '': an empty name", "name files or folders of labelled records, or the lake's table")
    if wanted.origin in ("", "lake", "parquet", "csv") and (wanted.origin or wanted.records):
        origin = wanted.origin or _by_looks(wanted.records)
    else:
        raise ConfigError(f"--from {wanted.origin or 'nothing'}: no records to read", f"one of: {', '.join(ORIGINS)}")
    if origin != "lake" and not wanted.records:
        raise ConfigError(f"--from {origin} without --records", f"name the {origin} file or its folder")
    if origin != "lake" and (wanted.labels is not None or wanted.as_of):
        option = "--labels" if wanted.labels is not None else "--as-of"
        raise ConfigError(f"{option} with --from {origin}", "it goes with the records of a lake: --from lake")
    if origin == "lake" and len(wanted.records) > 1:
        raise ConfigError(f"--from lake with {len(wanted.records)} times --records", "a training reads one table")
    return origin  # type: ignore[return-value]


def _by_looks(places: tuple[str, ...]) -> str:
    if "://" in places[0]:
        return "lake"
    first = Path(places[0])
    if first.is_dir():
        inside = {name: any(p.name.lower().endswith(ends) for p in first.rglob("*")) for name, ends in reading.ENDINGS.items()}
        if (first / "_delta_log").is_dir() or not any(inside.values()):
            return "lake"
        return "parquet" if inside["parquet"] else "csv"
    return "csv" if first.name.lower().endswith(reading.ENDINGS["csv"]) else "parquet"


def _usable(sample: Sample, data: str, notes: list[str]) -> tuple[LabelledFlows, tuple[Stratum, ...]]:
    """The drawn sample, of attacks and ordinary traffic; what was left out becomes a note."""
    drawn = sample.drawn()
    if drawn is not None and drawn.doubled:
        notes.append(f"{drawn.doubled:,} rows dropped that were there twice")
    if drawn is not None and drawn.contradicting:
        notes.append(f"{drawn.contradicting:,} rows dropped that were there with two labels")
    if drawn is None or not len(drawn.flows):
        raise ModelError(f"{data}: no usable row", "; ".join(notes))
    if not drawn.whole:
        seen = sum(s.seen for s in drawn.strata)
        notes.append(f"{len(drawn.flows):,} of {seen:,} labelled rows taken, at most {sample.most:,} of a label, spread over the days")
    flows = drawn.flows
    if not flows.attack.any() or flows.attack.all():
        labels = ", ".join(np.unique(flows.y).tolist())
        lacking = f"no row is labelled {BENIGN}" if flows.attack.all() else "there is no attack among them"
        raise ModelError(
            f"{data}: one class only: {len(flows):,} rows of {labels}; {lacking}", "a model learns the difference: label some of both"
        )
    return flows, drawn.strata


def _checksum(files: list[Path]) -> str:
    """SHA-256 of the files' contents, in their order; of several, of their checksums."""
    sums = []
    for file in files:
        with file.open("rb") as content:
            sums.append(hashlib.file_digest(content, "sha256").hexdigest())
    return sums[0] if len(sums) == 1 else hashlib.sha256("\n".join(sums).encode()).hexdigest()

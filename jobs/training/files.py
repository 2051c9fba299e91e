"""Files logged beside a model: its card, and its figures for programs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from infra import files
from infra.errors import ConfigError
from jobs.evaluation.account import plain
from jobs.evaluation.assess import Evaluation

#: The model card in the artefacts of a run.
CARD = "card.html"


def save_card(card: str, file: Path) -> None:
    """Write a card where somebody wants it.

    Raises
    ------
    ConfigError
        The file cannot be written.
    """
    try:
        files.replace(file, card)
    except OSError as e:
        raise ConfigError(
            f"--card {file}: {e.strerror or e}", "name another file; the card lies beside the model in the registry too"
        ) from e


def write_files(folder: Path, evaluation: Evaluation, card: str) -> list[Path]:
    """Write ``card.html``, ``evaluation.json``, ``classes.csv`` and ``confusion.csv``; returns their paths."""
    part = next(iter(evaluation.parts.values()))
    tables: dict[str, list[list[object]]] = {
        "classes.csv": [
            ["label", "records", "flagged", "recall", "typed"],
            *([c.label, c.records, c.flagged, f"{c.flagged / c.records:.4f}", c.typed] for c in part.classes),
        ],
        "confusion.csv": [
            ["label", *part.confusion.labels],
            *([n, *row] for n, row in zip(part.confusion.labels, part.confusion.counts.tolist(), strict=True)),
        ],
    }
    for name, rows in tables.items():
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    (folder / CARD).write_text(card, encoding="utf-8")
    (folder / "evaluation.json").write_text(json.dumps(plain(evaluation), indent=1, allow_nan=False), encoding="utf-8")
    return [folder / name for name in (CARD, "evaluation.json", *tables)]

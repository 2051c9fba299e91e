"""What the notebooks share: settings, where figures go and how they look; the champion, and traffic that it has not seen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

from infra import config
from infra.errors import FlowlakeError

if TYPE_CHECKING:
    from jobs.scoring.model import ScoringModel
    from jobs.training.labelled import LabelledFlows

settings = config.load()
BENIGN, ATTACK, CHOSEN, PLAIN = "#4878a8", "#c44e52", "#55a868", "#8c8c8c"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 110, "font.size": 9})


def figures(name: str) -> Callable[[str], None]:
    """What writes the figure that was drawn, by its name, below ``var/name`` or ``FIGURES``; an editor shows it below the cell."""
    folder = Path(os.environ.get("FIGURES", settings.path(settings.paths.var) / name))
    folder.mkdir(parents=True, exist_ok=True)

    def keep(figure: str) -> None:
        plt.tight_layout()
        plt.savefig(folder / f"{figure}.png")
        print(f"{folder / figure}.png")

    return keep


def give_up(problem: FlowlakeError) -> SystemExit:
    """The end of the notebook: what is wrong, and the way out."""
    return SystemExit(f"{problem}\n  {problem.hint}")


def seeds(default: str) -> list[int]:
    """Seeds of the generator: ``SEEDS``, a list such as 901,902."""
    return [int(seed) for seed in os.environ.get("SEEDS", default).split(",")]


def champion() -> ScoringModel:
    """The model that scores flows."""
    from jobs.scoring.registry import load_champion
    from schemas.packets import FLOWS

    try:
        return load_champion(settings, FLOWS)
    except FlowlakeError as e:
        raise give_up(e) from e


def unseen() -> LabelledFlows:
    """Flows of ``SEEDS``, ``DURATION`` seconds of each. Only those that have ended: an early look knows less."""
    from jobs.training.generated import generated_flows

    flows = generated_flows(seeds("901,902"), duration_s=float(os.environ.get("DURATION", "0")) or None)
    return flows.where(flows.closed)

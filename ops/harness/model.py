"""The first model, trained in a process of its own: what training needs of memory is given back before the stream runs.

It also sees to it that the meter's code is compiled, once and not by every worker of Spark at the same time.

``python -m ops.harness.model STATE_FILE``: ``{"state": "ready" | "training" | "failed", ...}``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from infra import config, log
from infra.errors import FlowlakeError
from ops.harness import link


def main(state: Path) -> None:
    """Train a champion unless there is one; told in the state file.

    Raises
    ------
    ModelError
        The registry cannot be used.
    """
    settings = config.load()
    log.setup(settings.log)
    from jobs.models.newcomer import ensure_champion
    from jobs.sources.packets import warm

    trained = False

    def progress(line: str) -> None:
        nonlocal trained
        trained = True
        link.write(state, {"state": "training", "line": line})

    champion = ensure_champion(settings, progress)
    warm.metering()
    link.write(state, {"state": "ready", "version": champion.version, "trained": trained})


if __name__ == "__main__":
    file = Path(sys.argv[1])
    link.end_with_parent(lambda: os._exit(1))
    try:
        main(file)
    except FlowlakeError as e:
        link.write(file, {"state": "failed", "error": str(e), "hint": e.hint, "code": e.exit_code})
        sys.exit(e.exit_code)

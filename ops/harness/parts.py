"""The processes of a trial beside the servers: model, stream and sensor, started, looked after and ended."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from infra import config
from infra.errors import FlowlakeError, StackError
from infra.process import Daemon
from ops.harness import driver, link
from ops.harness.place import Place, environment

#: One step of the start (Spark and its workers, a line of the training, the first batch of the meter) takes no longer than this, seconds.
START_S = 240.0
_NAMES = ("model", "stream", "sensor")


class Parts:
    """The processes of one place, each with a log and a file in which it tells its state (:mod:`ops.harness.link`)."""

    def __init__(self, where: Place) -> None:
        self._place = where
        self._daemons = {name: Daemon(name, where.run, where.logs) for name in _NAMES}

    def file(self, name: str) -> Path:
        """A file through which the processes speak."""
        return self._place.run / name

    def state(self, name: str) -> dict[str, Any]:
        """What a part said last."""
        return link.read(self.file({"stream": driver.STATE}.get(name, f"{name}.json")))

    def spawn(self, name: str, module: str, *arguments: str) -> None:
        """Start a part: ``python -m module``."""
        self._daemons[name].start([sys.executable, "-m", module, *arguments], env=environment(self._place), cwd=config.ROOT)

    def must_run(self, name: str, state: dict[str, Any] | None = None) -> None:
        """Raise what a part ended with, if it did; ``state`` is what it said, where that was read already.

        Raises
        ------
        FlowlakeError
            What the part failed with, with its hint and exit code.
        StackError
            It ended without a word.
        """
        state = self.state(name) if state is None else state
        if state.get("state") == "failed":
            raise _failure(state)
        if self._daemons[name].process() is None:
            again = self.state(name)
            if again.get("state") == "failed":
                raise _failure(again)
            if again.get("state") in ("done", "ready"):
                return
            daemon = self._daemons[name]
            raise StackError(f"the {name} ended: {daemon.last_words()}", f"the whole log: {daemon.log_file}")

    def in_time(self, deadline: float, what: str) -> None:
        """Raise a StackError that names the log when it is too late (monotonic seconds) for ``what``."""
        if time.monotonic() > deadline:
            log = self._daemons["model" if what == "the model" else "stream"].log_file
            raise StackError(f"{what} is not ready after {START_S:.0f} s", f"the log: {log}")

    def stop(self, timeout_s: float) -> None:
        """End all of them, the sensor first: what it still sends would be waited for."""
        for daemon in reversed(self._daemons.values()):
            daemon.stop(timeout_s)

    def pids(self) -> dict[str, int | None]:
        """Process ids; None for a part that does not run."""
        found = {name: daemon.process() for name, daemon in self._daemons.items()}
        return {name: p.pid if p else None for name, p in found.items()}


def _failure(state: dict[str, Any]) -> FlowlakeError:
    error = FlowlakeError(str(state.get("error")), str(state.get("hint", "")))
    error.exit_code = int(state.get("code", 1))
    return error

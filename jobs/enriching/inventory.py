"""Our own machines in clouds, asked for again and again in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

from infra import log
from infra.errors import one_line
from infra.plurals import counted
from jobs.enriching.cloudapis import ask_aws, ask_azure, ask_gcp
from jobs.enriching.machines import CloudMachine, by_address
from jobs.enriching.settings import CloudSettings

_log = log.get(__name__)
Question = Callable[[], Iterator[CloudMachine]]


class Inventory:
    """Machines by address. A thread for each cloud that is asked, which never keeps the process alive; none is waited for.

    Parameters
    ----------
    settings
        Which clouds are asked, and how often.

    Attributes
    ----------
    machines
        By address of 16 bytes; replaced as a whole when there is something new.
    """

    def __init__(self, settings: CloudSettings) -> None:
        self.machines: Mapping[bytes, CloudMachine] = {}
        self._lists: dict[str, list[CloudMachine]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        questions: dict[str, Question] = {
            "aws": lambda: ask_aws(settings.aws),
            "azure": lambda: ask_azure(settings.azure),
            "gcp": lambda: ask_gcp(settings.gcp),
        }
        for cloud, question in questions.items():
            if (provider := getattr(settings, cloud)).enabled:
                given = (cloud, question, float(provider.refresh_interval_seconds))
                threading.Thread(target=self._run, args=given, name=f"inventory-{cloud}", daemon=True).start()

    def close(self) -> None:
        """Ask no more."""
        self._closed.set()

    def _run(self, cloud: str, question: Question, seconds: float) -> None:
        fails = False
        while not self._closed.is_set():
            try:
                self._take(cloud, list(question()))
                fails = False
            except Exception as e:  # of whatever library: the next question may be answered
                if not fails:
                    _log.warning("a cloud does not tell its machines; what it said before holds", cloud=cloud, why=one_line(e))
                fails = True
            self._closed.wait(seconds)

    def _take(self, cloud: str, machines: list[CloudMachine]) -> None:
        with self._lock:
            if self._lists.get(cloud) == machines:
                return
            self._lists[cloud] = machines
            found = by_address(m for told in self._lists.values() for m in told)
            self.machines = found.by_address
        said = counted(len(found.by_address), "address", "addresses")
        _log.info("machines of clouds", known=said, of_several_machines=found.ambiguous)

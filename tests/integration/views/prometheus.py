"""A real Prometheus that scrapes what the stream and a sensor show, for the tests of its expressions."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from infra.process import free_port


class PrometheusServer:
    """A server with the rules of the repository.

    Parameters
    ----------
    folder
        Of its configuration and data.
    configuration
        That of the repository; what it scrapes is replaced.
    targets
        ``host:port`` of the pages that it scrapes every second.
    """

    def __init__(self, folder: Path, configuration: Path, targets: list[str]) -> None:
        shutil.copytree(configuration.parent, folder / "etc")
        own = yaml.safe_load(configuration.read_text("utf-8"))
        own["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        own["scrape_configs"] = [{"job_name": "flowlake", "static_configs": [{"targets": targets}]}]
        (folder / "etc" / configuration.name).write_text(yaml.safe_dump(own), encoding="utf-8")
        self._log = (folder / "log").open("wb")
        self.url = f"http://127.0.0.1:{free_port()}"
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'etc' / configuration.name}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={urllib.parse.urlsplit(self.url).netloc}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def ask(self, path: str, **values: str) -> Any:
        """The ``data`` of an answer of its API."""
        query = urllib.parse.urlencode(values)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=20) as answer:
            found = json.loads(answer.read())
        assert found["status"] == "success", found
        return found["data"]

    def wait(self, until: Callable[[], bool], what: str) -> None:
        """Until something holds, at most a minute."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if until():
                    return
            except urllib.error.URLError:
                assert self._process.poll() is None, Path(self._log.name).read_text("utf-8", "replace")
            time.sleep(0.2)
        raise AssertionError(f"Prometheus: {what} did not come about: {Path(self._log.name).read_text('utf-8', 'replace')[-2000:]}")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()

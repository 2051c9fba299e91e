"""Model registries that a test need not wait for: MLflow takes more than a second to lay out the tables of an empty one."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from infra import config, paths
from infra.config import Settings
from jobs.scoring import tracking


@functools.cache
def _empty() -> bytes:
    """A registry without a model, as the platform makes it."""
    with tempfile.TemporaryDirectory(prefix="flowlake-registry-") as folder:
        file = Path(folder) / "mlflow.db"
        with tracking.opened(config.build(scoring={"tracking_uri": f"sqlite:///{file}"}), create=True) as client:
            assert not client.search_registered_models()
        return file.read_bytes()


def begin(settings: Settings) -> Settings:
    """Put an empty registry where the settings name a file and there is none; the settings."""
    file = paths.registry_file(settings)
    if file is not None and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_empty())
    return settings

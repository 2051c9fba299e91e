"""What is found out about records beyond what exporters say: places, names, clouds, who began, and the service."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from jobs.enriching.enricher import enricher
from jobs.enriching.roles import roles
from jobs.enriching.services import ServiceTable
from jobs.enriching.settings import EnrichmentSettings
from jobs.flowexport.flowbatch import columns_of


class Lookups:
    """What one process knows, by its settings.

    Raises
    ------
    ConfigError
        A file is missing or damaged, or a package is not installed.
    """

    def __init__(self, settings: EnrichmentSettings) -> None:
        self._ends = enricher(settings)
        self._services = _services(tuple(sorted(settings.services.items())))

    def found(self, batch: pa.RecordBatch, columns: Mapping[str, NDArray[Any]]) -> dict[str, pa.Array]:
        """Columns of the record type, by name."""
        return {**self._ends.ends(columns["src"], columns["dst"]), **roles(columns_of(batch, columns), self._services)}


@lru_cache(4)
def _services(more: tuple[tuple[str, str], ...]) -> ServiceTable:
    return ServiceTable(dict(more))

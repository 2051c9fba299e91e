"""Which registered model is of which record type."""

from __future__ import annotations

from infra.config import Settings
from infra.sections import ScoringSettings
from schemas.records import Features, RecordType

#: The model that ``scoring.model_name`` renames, from when there was one.
_FLOWS = ScoringSettings.model_fields["model_name"].default


def features_of(record: RecordType) -> Features:
    """What a model reads of a record type that is scored."""
    if record.features is None:
        raise ValueError(f"record type {record.name} is not scored")
    return record.features


def model_name(settings: Settings, record: RecordType) -> str:
    """Name of the registered model of a record type: the settings' (``scoring.models``; of flows ``scoring.model_name``), else its own."""
    own = features_of(record).model
    first = settings.scoring.model_name if own == _FLOWS else own
    return settings.scoring.models.get(record.name, first)

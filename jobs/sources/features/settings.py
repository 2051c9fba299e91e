"""Settings of the source: the section ``features``."""

from __future__ import annotations

from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from sensors.publish.settings import PublishSettings


class FlowFeaturesSettings(PublishSettings):
    """Flows computed elsewhere: the command that sends them, and the query that checks and scores them."""

    enabled: bool = Field(False, description="run the query `features` with the others; else only where it is named: --only features")
    timezone: str = Field("UTC", description="zone of times that name none; CICFlowMeter writes those of the clock on its wall")
    day_first: bool = Field(True, description="03/07/2017 is the 3rd of July, as CICFlowMeter writes it; else the 7th of March")
    batch_rows: int = Field(5_000, ge=1, le=100_000, description="rows a message at most that `flowlake features send` sends")
    max_rows: int = Field(100_000, ge=1, le=1_000_000, description="rows a message may hold; one of more is refused whole")
    trigger_ms: int = Field(0, ge=0, description="milliseconds between batches; 0: as fast as possible")
    max_offsets_per_trigger: int = Field(500, ge=0, description="messages a batch at most; 0: no bound")
    starting_offsets: Literal["earliest", "latest"] = Field("earliest", description="where to begin without a checkpoint")
    fail_on_data_loss: bool = Field(False, description="stop when messages were gone before they were read; else count them and go on")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as e:
            raise ValueError(f"{name!r} is no time zone; names are those of IANA: UTC, Europe/Berlin") from e
        return name

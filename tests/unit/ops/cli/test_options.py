"""Values of options that several commands share."""

from __future__ import annotations

import pytest

from infra.console.options import names
from infra.errors import ConfigError

KNOWN = ("kafka", "postgres")


@pytest.mark.parametrize(
    ("given", "chosen"),
    [(None, KNOWN), ("kafka", ("kafka",)), ("postgres, kafka", ("postgres", "kafka")), ("kafka,", ("kafka",))],
)
def test_names(given: str | None, chosen: tuple[str, ...]) -> None:
    assert names("--only", given, KNOWN) == chosen


@pytest.mark.parametrize("given", ["", ",", "kafak", "Kafka", "kafka,redis", "kafka postgres", "topics"])
def test_no_such_name(given: str) -> None:
    with pytest.raises(ConfigError, match="--only") as failure:
        names("--only", given, KNOWN)
    assert failure.value.hint == "one or more of: kafka, postgres"

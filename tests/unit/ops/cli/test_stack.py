"""Which parts ``--only`` names."""

from __future__ import annotations

import pytest

from infra.errors import ConfigError
from ops.cli.stack import parts_named

KNOWN = ("kafka", "postgres")


@pytest.mark.parametrize(
    ("given", "chosen"),
    [(None, KNOWN), ("kafka", ("kafka",)), ("postgres, kafka", ("postgres", "kafka")), ("kafka,", ("kafka",))],
)
def test_names(given: str | None, chosen: tuple[str, ...]) -> None:
    assert parts_named(given, KNOWN) == chosen


@pytest.mark.parametrize("given", ["", ",", "kafak", "Kafka", "kafka,redis", "kafka postgres", "topics"])
def test_no_such_name(given: str) -> None:
    with pytest.raises(ConfigError, match="--only") as failure:
        parts_named(given, KNOWN)
    assert failure.value.hint == "one or more of: kafka, postgres"

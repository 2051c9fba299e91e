"""What the tests of Trino and Athena ask, and what lies in the stores that they ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from infra.config import Settings
from infra.jvm import trino as package
from infra.stack.trino import TrinoServer
from jobs.engines import trino
from tests import cookbookdata


def fetched() -> None:
    """See that there is a server to start; else the test is skipped."""
    if lacking := package.missing():
        pytest.skip(f"{lacking}; make test-trino fetches it (856 MB) and runs these tests")


@dataclass(frozen=True)
class Engines:
    """The server, the settings that it was made from, and the data in the stores."""

    settings: Settings
    server: TrinoServer
    data: cookbookdata.Data
    registered: list[trino.Registered]

    def rows(self, sql: str, user: str = "analyst") -> list[list[Any]]:
        """Rows of a question, asked by somebody who may only read."""
        return trino.Trino(self.settings.trino.model_copy(update={"user": user})).rows(sql.strip().rstrip(";"))

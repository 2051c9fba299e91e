"""The corpus, collected once."""

from __future__ import annotations

import pytest

from tests.fuzz.corpus import Seed, seeds


@pytest.fixture(scope="session")
def corpus() -> list[Seed]:
    return seeds()

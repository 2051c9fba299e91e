"""The settings as a section of a source: read from the environment, documented, and their secrets kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from docs.generate import configuration
from infra import config
from infra.errors import ConfigError
from jobs.enriching.settings import EnrichmentSettings
from ops.cli.config import MASK, effective
from ops.harness import place


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those with a source that wants the enrichment."""
    monkeypatch.setenv("FLOWLAKE_ENRICHMENT__CACHE__REDIS_PASSWORD", "hunter2")
    monkeypatch.setenv("FLOWLAKE_ENRICHMENT__CLOUD__AWS__REGIONS", '["eu-central-1"]')
    return ["jobs.sources"]


def test_the_environment_reaches_every_depth(packages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    section = config.build(sources={"packages": packages}).section(EnrichmentSettings)
    assert section.cloud.aws.regions == ("eu-central-1",)
    assert section.cache.redis_password.get_secret_value() == "hunter2"
    monkeypatch.setenv("FLOWLAKE_ENRICHMENT__DNS__TIMEOUT_MS", "0")
    with pytest.raises(ConfigError, match=r"environment variable FLOWLAKE_ENRICHMENT__DNS__TIMEOUT_MS: enrichment\.dns\.timeout_ms"):
        config.load()


def test_a_secret_within_is_masked_and_in_no_file(packages: list[str], tmp_path: Path) -> None:
    settings = config.build(sources={"packages": packages})
    assert "enrichment.cache.redis_password" in config.secret_fields(type(settings))
    assert effective(settings)["enrichment"]["cache"]["redis_password"] == MASK
    file = tmp_path / "conf.yaml"
    place.write_conf(settings, file)
    cache = yaml.safe_load(file.read_text())["enrichment"]["cache"]
    assert "redis_password" not in cache
    assert cache["backend"] == "memory"


def test_every_key_is_a_row_of_the_reference(packages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made = config.composed(packages)
    monkeypatch.setattr("docs.generate._settings", lambda: made)
    page = configuration()
    assert "| `cloud.aws.regions` |" in page
    assert "`FLOWLAKE_ENRICHMENT__CLOUD__AWS__REGIONS` |" in page
    assert "| `cache.redis_password` | secret |" in page

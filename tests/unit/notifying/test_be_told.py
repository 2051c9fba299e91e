"""The page that tells how to be told: its channels can be made from its configuration and its environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra import config
from jobs.notifying import channels
from tests.unit.notifying.notices import notice

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "be-told.md"


def test_each_channel_of_the_page_is_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (declared,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (home / "conf.yaml").write_text(declared)
    for name, value in re.findall(r"^export (\w+)=(\S+)$", text, re.MULTILINE):
        monkeypatch.setenv(name, value)
    settings = config.load(home / "conf.yaml")
    made = channels.receivers(settings)
    assert {channel.kind for channel in settings.notify.channels.values()} == {"pagerduty", "slack", "email", "syslog", "webhook", "kafka"}
    for name, receiver in made.items():
        shown = receiver.shown(notice()) + receiver.where
        assert "203.0.113.7" in shown, name
        assert "secret" not in shown
        assert "integration-key" not in shown

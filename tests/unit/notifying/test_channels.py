"""What a channel lacks is said at the start, in one line, and no secret is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra import config
from infra.errors import ConfigError
from jobs.notifying import channels

KINDS: list[dict[str, Any]] = [
    {"kind": "webhook", "url": "https://hooks.example.org/x"},
    {"kind": "email", "sender": "a@example.org", "to": ["b@example.org"]},
    {"kind": "syslog", "transport": "tls"},
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind["kind"]))
@pytest.mark.parametrize("content", [None, "no certificate\n"], ids=["not there", "no PEM"])
def test_an_authority_that_is_none(kind: dict[str, Any], content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    settings = config.build(notify={"channels": {"hook": {**kind, "ca": str(file)}}})
    with pytest.raises(ConfigError, match=r"notify\.channels\.hook\.ca: .*ca\.pem (cannot be read|holds no certificate)"):
        channels.receiver(settings, "hook")


@pytest.mark.parametrize("secret", ["geheim\n", "ge heim", "geheim\0", "gehéim", "日本"])
@pytest.mark.parametrize("kind", ["webhook", "slack"])
def test_a_token_that_no_header_can_hold(kind: str, secret: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config.build(notify={"channels": {"hook": {"kind": kind, "url": "https://example.org/x", "secret": secret}}})
    with pytest.raises(ConfigError, match=r"notify\.channels\.hook\.secret holds") as caught:
        channels.receiver(settings, "hook")
    assert secret not in f"{caught.value} {caught.value.hint}"


def test_a_secret_of_a_channel_that_no_file_declares(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "conf.yaml").write_text("notify: {channels: {hook: {kind: webhook}}}")
    monkeypatch.setenv("FLOWLAKE_NOTIFY__CHANNELS__HOK__SECRET", "geheim")
    with pytest.raises(ConfigError, match=r"FLOWLAKE_NOTIFY__CHANNELS__HOK__SECRET: .*its kind is not said") as caught:
        config.load(home / "conf.yaml")
    assert "geheim" not in f"{caught.value} {caught.value.hint}"


def test_a_login_in_an_address_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "conf.yaml").write_text("notify: {channels: {hook: {kind: webhook}}}")
    monkeypatch.setenv("FLOWLAKE_NOTIFY__CHANNELS__HOOK__URL", "https://ben:geheim@example.org/x")
    with pytest.raises(ConfigError, match=r"(?i)notify.*hook.*url: a user or a password") as caught:
        config.load(home / "conf.yaml")
    assert "geheim" not in f"{caught.value} {caught.value.hint}"

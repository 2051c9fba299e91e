"""The command, with a configuration of the test's own: a database, and a lake in its home."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import config
from infra.config import Settings
from ops.cli.main import main


@dataclass
class Mover:
    """``flowlake migrate``."""

    settings: Settings
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["migrate", *map(str, arguments)])
        out = self.capsys.readouterr()
        return int(end.value.code or 0), out.out, out.err

    def told(self, *arguments: object) -> dict[str, Any]:
        """What it says in JSON; it must end well."""
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        return found


def written(home: Path, database: dict[str, Any], **more: Any) -> Path:
    """A configuration file."""
    section = {name: database[name] for name in ("host", "port", "user", "database")}
    file = home / "conf.yaml"
    file.write_text(yaml.safe_dump({"hot": section, "alerts": section, **more}))
    return file


@pytest.fixture
def mover(database: dict[str, Any], home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    monkeypatch.setenv("FLOWLAKE_CONF", str(written(home, database)))
    for name in ("HOT", "ALERTS"):
        monkeypatch.setenv(f"FLOWLAKE_{name}__PASSWORD", database["password"].get_secret_value())
    return Mover(config.load(), capsys)

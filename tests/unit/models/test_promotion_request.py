"""What the commands that train refuse before the work."""

from __future__ import annotations

import pytest

from infra.errors import ConfigError
from ops.cli import main

_TRAIN = [["train"], ["windows", "train"], ["netflow", "train"]]


@pytest.mark.parametrize("command", _TRAIN, ids=" ".join)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--promote", "--no-register"], "--promote with --no-register"),
        (["--force", "--reason", "it is a test"], "--force without --promote"),
        (["--promote", "--force"], "--force without --reason"),
        (["--promote", "--force", "--reason", " "], "--force without --reason"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_the_work(command: list[str], options: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        main.run([*command, *options])

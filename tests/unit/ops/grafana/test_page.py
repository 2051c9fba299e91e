"""The page "See it in Grafana": its commands run, and what it counts is so."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from infra import config
from ops.grafana import rules
from ops.grafana.files import VARIABLES, files
from ops.views.catalogue import views
from schemas.packets import FLOWS
from schemas.windowrecords import WINDOWS

PAGE = (config.ROOT / "docs" / "how-to" / "see-it-in-grafana.md").read_text(encoding="utf-8")


def test_marked_commands_run(tmp_path: Path) -> None:
    lines = [line for block in re.findall(r"```bash test\n(.*?)```", PAGE, re.DOTALL) for line in block.split("\n") if line.strip()]
    assert lines
    for line in lines:
        program, *words = shlex.split(line.strip())
        assert program == "flowlake"
        code = f"import sys; sys.path.insert(0, {str(config.ROOT)!r}); from ops.cli.main import main; sys.exit(main())"
        done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    assert {str(path.relative_to(tmp_path / "etc")) for path in (tmp_path / "etc").rglob("*") if path.is_file()} == set(
        files([FLOWS, *WINDOWS.values()])
    )


def test_it_names_every_dashboard_and_every_variable() -> None:
    assert re.findall(r"^\| \*([^*]+)\* \|", PAGE, re.MULTILINE) == sorted(
        (view.title for view in views([FLOWS, *WINDOWS.values()])), key=lambda title: PAGE.index(f"| *{title}*")
    )
    assert set(re.findall(r"^ +(FLOWLAKE_\w+)=", PAGE, re.MULTILINE)) == set(VARIABLES)


@pytest.mark.parametrize("readme", ["grafana", "prometheus"])
def test_links_of_the_folders_resolve(readme: str) -> None:
    folder = config.ROOT / "infra" / readme
    targets = re.findall(r"\]\(([^)#]+)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not (folder / target).exists()] == []


def test_the_number_of_rules_is_as_said() -> None:
    assert f"Prometheus has {len(rules.RULES)} rules" in PAGE
    assert len(rules.DATABASE_RULES) == 2

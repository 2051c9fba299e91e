"""What an installed copy has beside its modules."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from jobs.runtime.package import SUFFIXES
from tests.unit.test_imports import PACKAGES, ROOT


def test_a_wheel_holds_every_file_that_is_read_at_run_time(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for name in ("pyproject.toml", "requirements.in", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # Deployment by containers, and what a command writes anew: for whoever has the repository.
    wanted = {f.relative_to(source).as_posix() for p in PACKAGES for f in (source / p).rglob("*") if f.suffix in SUFFIXES}
    wanted = {name for name in wanted if not name.startswith(("infra/cluster/", "infra/grafana/"))}
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    assert "ops/demo/report.html" in wanted
    assert {"ops/dash/static/dash.css", "ops/dash/static/tables.js", "ops/dash/static/live.js", "ops/dash/static/icon.svg"} <= held
    assert wanted - held == set()

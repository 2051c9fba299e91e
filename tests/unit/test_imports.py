"""Which package may import which is checked by import-linter; here, that its contracts bite."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ops", "jobs", "sensors", "infra", "schemas")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's Python, and what it demands of it."""
    copy = tmp_path_factory.mktemp("source")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=lambda _, names: [n for n in names if n == "__pycache__"])
    return copy


def lint(folder: Path) -> tuple[int, str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_the_project_keeps_its_contracts(source: Path) -> None:
    code, text = lint(source)
    assert code == 0, text


def test_no_module_lies_where_the_contracts_do_not_look() -> None:
    """A folder without ``__init__.py`` would not be read."""
    assert not [f for p in PACKAGES for f in (ROOT / p).rglob("*.py") if not (f.parent / "__init__.py").is_file()]


LAZY = "def late():\n    import {target}\n"
TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import {target}\n"


@pytest.mark.slow  # a process each
@pytest.mark.parametrize(
    ("module", "target", "form"),
    [
        ("schemas", "infra.errors", "import {target}\n"),
        ("schemas", "infra.errors", LAZY),
        ("infra", "jobs.runtime", LAZY),
        ("infra.kafka", "sensors.publish", TYPES),
        ("sensors.packets", "jobs.metering", LAZY),
        ("jobs.sinks", "ops.harness", TYPES),
        ("jobs.sinks", "infra.stack", LAZY),
        ("infra", "infra.stack", LAZY),
        ("jobs.sinks", "jobs.sources", LAZY),
        ("jobs.runtime", "jobs.metering", TYPES),
        ("jobs.scoring", "sensors.packets", LAZY),
        ("sensors.publish", "sensors.generate", LAZY),
        ("jobs.metering", "pyspark.sql", LAZY),
    ],
)
def test_an_import_that_is_not_allowed_is_named(source: Path, module: str, target: str, form: str) -> None:
    folder = source / module.replace(".", "/")
    intruder = folder / "intruder.py"
    intruder.write_text(form.format(target=target))
    try:
        code, text = lint(source)
    finally:
        intruder.unlink()
    assert code == 1
    assert f"{module}.intruder -> {target if target.split('.')[0] in PACKAGES else target.split('.')[0]} " in text


def test_an_import_within_the_rules_is_let_through(source: Path) -> None:
    intruder = source / "ops" / "intruder.py"
    intruder.write_text("import infra.stack.local\nimport jobs.sources\nimport pyspark\n")
    try:
        code, text = lint(source)
    finally:
        intruder.unlink()
    assert code == 0, text


def test_an_exception_that_is_not_needed_is_an_error(source: Path) -> None:
    file = source / "pyproject.toml"
    before = file.read_text()
    file.write_text(
        before.replace('layers = ["ops"', 'ignore_imports = ["schemas.flows -> ops.cli.main"]\nlayers = ["ops"').replace(
            'ignore_imports = ["jobs.train -> ops.cli.main"]\n', ""
        )
    )
    try:
        code, text = lint(source)
    finally:
        file.write_text(before)
    assert code == 1
    assert "schemas.flows -> ops.cli.main" in text

"""Files, folders and modules of the project that a page names are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

TOP = "schemas|infra|sensors|jobs|ops|tests|conf|docs"
#: ``jobs/sinks/``, ``jobs/*.py``, ``jobs/sources/<name>/source.py``.
FILE = re.compile(rf"`((?:{TOP})/[\w./*<>-]*)`")
#: ``jobs.sources``, ``infra.errors.one_line``.
MODULE = re.compile(r"`((?:schemas|infra|sensors|jobs|ops)(?:\.\w+)+)`")


def there(path: str) -> bool:
    """Whether a path names something; ``<...>`` and ``*`` stand for any name."""
    return any(ROOT.glob(re.sub(r"<[^>]+>", "*", path).rstrip("/")))


def importable(name: str) -> bool:
    """Whether a dotted name is a module, or what one defines."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ROOT.joinpath(*parts[:length])
        if module.is_dir():
            return length == len(parts)
        if (file := module.with_suffix(".py")).is_file():
            return length == len(parts) or parts[length] in defined(file)
    return False


def defined(file: Path) -> set[str]:
    """Names that a module defines."""
    found: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update(t.id for target in targets for t in ast.walk(target) if isinstance(t, ast.Name))
    return found


def named(pattern: re.Pattern[str]) -> Iterator[Any]:
    for page in PAGES:
        text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for name in sorted(set(pattern.findall(text))):
            yield pytest.param(name, id=f"{page.relative_to(ROOT)}: {name}")


@pytest.mark.parametrize("path", list(named(FILE)))
def test_path_is_there(path: str) -> None:
    assert there(path)


@pytest.mark.parametrize("name", list(named(MODULE)))
def test_module_is_there(name: str) -> None:
    assert importable(name)


def test_the_check_of_paths_can_fail() -> None:
    assert there("jobs/sources/<name>/source.py")
    assert there("infra/kafka/")
    assert not there("infra/cli/")
    assert not there("jobs/sources/<name>/nothing.py")
    assert importable("infra.errors.one_line")
    assert importable("jobs.sources")
    assert not importable("infra.errors.two_lines")
    assert not importable("jobs.platform.session")

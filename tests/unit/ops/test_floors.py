"""What stands on what among the tools of operators: demo and bench on the harness, neither on the other, and it on neither."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

OPS = Path(__file__).resolve().parents[3] / "ops"


def imported(folder: str) -> set[str]:
    """Modules of ops that the files of a folder import, lazily too."""
    found: set[str] = set()
    for file in sorted((OPS / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize(
    ("folder", "others"), [("harness", ("demo", "bench", "cli")), ("bench", ("demo", "cli")), ("demo", ("bench", "cli"))]
)
def test_imports_go_down(folder: str, others: tuple[str, ...]) -> None:
    above = tuple(f"ops.{other}" for other in others)
    assert {name for name in imported(folder) if f"{name}.".startswith(tuple(f"{a}." for a in above))} == set()

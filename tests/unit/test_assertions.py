"""Every test can fail: it asserts something, itself or in a helper that it calls."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
_EXPECTATIONS = {"raises", "warns", "fail"}  # pytest's


def _calls(function: ast.AST) -> set[str]:
    """Names of what is called, without the objects whose methods they are."""
    functions = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {f.id if isinstance(f, ast.Name) else f.attr for f in functions if isinstance(f, ast.Name | ast.Attribute)}


def _asserts(function: ast.AST) -> bool:
    return any(isinstance(node, ast.Assert) for node in ast.walk(function)) or bool(_calls(function) & _EXPECTATIONS)


def _functions(sources: Mapping[str, str]) -> Iterator[tuple[str, ast.FunctionDef]]:
    for name, source in sources.items():
        yield from ((name, node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))


def without_assertion(sources: Mapping[str, str]) -> list[str]:
    """Tests (``file::name``) that assert nothing, by themselves or through helpers of any of the files."""
    functions = [(name, f.name, _asserts(f), _calls(f)) for name, f in _functions(sources)]
    others = [(function, asserts, calls) for _, function, asserts, calls in functions if not function.startswith("test_")]
    helpers = {function for function, asserts, _ in others if asserts}
    while more := {function for function, _, calls in others if calls & helpers} - helpers:
        helpers |= more
    tests = [one for one in functions if one[1].startswith("test_")]
    return [f"{name}::{function}" for name, function, asserts, calls in tests if not asserts and not calls & helpers]


def test_every_test_asserts_something() -> None:
    files = {f.relative_to(TESTS).as_posix(): f.read_text(encoding="utf-8") for f in TESTS.rglob("*.py")}
    assert without_assertion(files) == []


def test_a_test_without_an_assertion_is_found() -> None:
    helpers = "def check(x):\n    assert x\ndef deep(x):\n    check(x)\ndef idle(x):\n    print(x)\n"
    good = "def test_a():\n    deep(1)\ndef test_b():\n    assert 1\ndef test_c():\n    with pytest.raises(ValueError):\n        f()\n"
    bad = "class TestX:\n    def test_d(self):\n        idle(1)\ndef test_e():\n    pass\n"
    assert sorted(without_assertion({"h.py": helpers, "g.py": good, "b.py": bad})) == ["b.py::test_d", "b.py::test_e"]

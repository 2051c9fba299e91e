"""Finding the JDK: missing, too old, unusual."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import StackError
from infra.jvm import java


def fake_java(folder: Path, output: str) -> Path:
    """A ``java`` that prints another version."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "java"
    script.write_text(f"#!/bin/sh\ncat >&2 <<'X'\n{output}\nX\n")
    script.chmod(0o755)
    return script


@pytest.mark.parametrize(("version", "feature"), [("17.0.15", 17), ("25-ea", 25), ("21", 21)])
def test_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, feature: int) -> None:
    script = fake_java(tmp_path, f'openjdk version "{version}" 2025-01-01')
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert java.find() == java.Java(script, version, feature)


@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.22"])
def test_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    script = fake_java(tmp_path / "bin", f'java version "{version}"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(StackError) as failure:
        java.find()
    assert version in str(failure.value)
    assert str(script) in str(failure.value)
    assert "17" in failure.value.hint


def test_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="no java on PATH"):
        java.find()


def test_java_home_without_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(StackError, match=str(tmp_path)):
        java.find()


def test_something_else_called_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_java(tmp_path / "bin", "hello")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(StackError, match="says nothing of a version: hello"):
        java.find()

"""Which Pythons are supported: one statement of it, and a lock file that is for each of them."""

from __future__ import annotations

import ast
import platform
import re
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from infra import bootstrap, lockcheck, pythons
from infra.config import ROOT
from ops.cli import doctor

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)(.*)$", (ROOT / "requirements.in").read_text(), re.MULTILINE)
TARGETS = [(version, machine) for version in pythons.SUPPORTED for machine in pythons.MACHINES]


def test_every_place_names_the_same_pythons() -> None:
    versions = [f"{major}.{minor}" for major, minor in pythons.SUPPORTED]
    meant = SpecifierSet(PROJECT["project"]["requires-python"])
    assert [f"3.{minor}" for minor in range(40) if f"3.{minor}.1" in meant] == versions
    assert list(pythons.RUN) == list(pythons.SUPPORTED)
    assert set(pythons.RUN_MACHINES) <= set(pythons.MACHINES)
    makefile = (ROOT / "Makefile").read_text()
    assert f"PYTHONS := {' '.join(f'python{v}' for v in versions)} python3\n" in makefile
    assert f"--python-version {versions[0]} " in makefile
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + versions[0].replace(".", "")
    assert PROJECT["tool"]["mypy"]["python_version"] == versions[0]


def test_every_direct_dependency_is_locked_in_its_version() -> None:
    assert len(PINS) > 20
    assert {(bootstrap._plain(name), version) for name, version, _ in PINS} <= set(bootstrap.pinned().items())


def test_page_says_what_was_run() -> None:
    page = (ROOT / "docs" / "reference" / "platforms.md").read_text()
    for (major, minor), words in pythons.RUN.items():
        assert re.search(rf"^\| {major}\.{minor} \| [^|]* \| {words} \| nothing \|$", page, re.MULTILINE)
        for machine in pythons.MACHINES:
            assert f"| {major}.{minor} | {machine} | {len(bootstrap.pinned()) - len(lockcheck.SOURCE_ONLY)} |" in page
    assert all(f"| `{name}` |" in page for name in lockcheck.SOURCE_ONLY)


def test_this_python_is_supported_and_another_is_not() -> None:
    assert pythons.this() == ""
    assert pythons.refusal((3, 10)) == "is 3.10"
    assert pythons.refusal((3, 14)) == "is 3.14"
    assert pythons.refusal((3, 13), "graalpy").startswith("is graalpy")
    assert "interpreter lock" in pythons.refusal((3, 13), free_threaded=True)


@pytest.mark.parametrize(
    ("machine", "state", "words"),
    [
        ("x86_64", "ok", pythons.RUN[sys.version_info[:2]]),
        ("aarch64", "warning", "no test was run"),
        ("riscv64", "warning", "nothing is known of riscv64"),
    ],
)
def test_doctor_says_what_was_run(machine: str, state: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    found = doctor.check_python()
    assert found.state == state
    assert words in found.detail
    assert platform.python_version() in found.detail


def test_doctor_refuses_another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    found = doctor.check_python()
    assert found.state == "missing"
    assert "is 3.14; Python 3.11, 3.12 or 3.13 is needed" in found.detail
    assert "make setup PYTHON=" in found.mend


@pytest.mark.parametrize(("version", "machine"), TARGETS)
def test_lock_is_the_same_for_every_python_and_processor(version: tuple[int, int], machine: str) -> None:
    """No marker leaves a supported Python without a package, and none has a package in two versions."""
    number = f"{version[0]}.{version[1]}"
    target = {
        "implementation_name": "cpython",
        "implementation_version": f"{number}.1",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{number}.1",
        "python_version": number,
        "sys_platform": "linux",
    }
    found = re.findall(r"^(\S+)==(\S+)(?: ; (.*?))? \\$", bootstrap.LOCK.read_text(), re.MULTILINE)
    pins = [(bootstrap._plain(name), pin) for name, pin, marker in found if not marker or Marker(marker).evaluate(target)]
    assert len(found) >= len(pins) > 100
    assert sorted(pins) == sorted(bootstrap.pinned().items())


@pytest.mark.parametrize(("version", "machine"), TARGETS)
def test_lock_has_what_its_packages_need(version: tuple[int, int], machine: str) -> None:
    """By the packages' own metadata, read as each Python would: nothing is needed there that the lock file lacks."""
    number = f"{version[0]}.{version[1]}"
    target = {"python_version": number, "python_full_version": f"{number}.1", "platform_machine": machine, "extra": ""}
    pins = bootstrap.pinned()
    for name, pin in pins.items():
        for line in metadata.requires(name) or []:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate(target):
                other = bootstrap._plain(need.name)
                assert other in pins, f"{name} {pin} needs {line} on Python {number}, {machine}"
                assert need.specifier.contains(pins[other], prereleases=True), f"{name} {pin} needs {line}, pinned is {pins[other]}"


def test_every_pin_has_a_reason_and_is_used() -> None:
    reasons = {bootstrap._plain(name): reason.strip(" #") for name, _, reason in PINS}
    assert all(reasons.values())
    modules = {module for name in _sources() for module in _imported((ROOT / name).read_text())}
    provided = metadata.packages_distributions()
    imported = {bootstrap._plain(owner) for module in modules for owner in provided.get(module, [])}
    unused = {name for name in reasons if name not in imported}
    assert unused == {name for name, reason in reasons.items() if reason.startswith("not imported: ")}


def _sources() -> list[str]:
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def _imported(source: str) -> set[str]:
    """Top-level modules that a program imports, at any place of it."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in names}

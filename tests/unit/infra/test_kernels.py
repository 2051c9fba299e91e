"""A kernel that is kept on disk is compiled again whenever something it is made of has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MODULES = {
    "numbers_used": "LIMIT = 3\nPAIR = (1, 2)\n",
    "inner": "from infra.kernels import piece\n@piece\ndef least(x):\n    return x + 1\n",
    "middle": "from infra.kernels import piece\nfrom inner import least\nfrom numbers_used import LIMIT\n"
    "@piece\ndef bounded(x):\n    return least(x) + LIMIT\n",
    "outer": "from infra.kernels import kernel\nfrom middle import bounded\nfrom numbers_used import PAIR\n"
    "@kernel\ndef run(x):\n    return bounded(x) * PAIR[1]\n",
}


def run(folder: Path) -> tuple[int, int]:
    """Result of ``run(1)`` in a process of its own, and how many times the kernel was compiled for it."""
    code = "import outer; print(outer.run(1), sum(outer.run.stats.cache_misses.values()))"
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    result, compiled = done.stdout.split()
    return int(result), int(compiled)


CHANGES = [
    ("inner", "x + 1", "x + 5", 18),
    ("middle", "+ LIMIT", "- LIMIT", 6),
    ("numbers_used", "LIMIT = 3", "LIMIT = 4", 4),
    ("numbers_used", "(1, 2)", "(1, 3)", 6),
]


@pytest.mark.slow  # a process and a compilation for each change
@pytest.mark.parametrize("kind", ["kernel", "allocating_kernel"])
def test_changes_of_other_modules_are_seen(tmp_path: Path, kind: str) -> None:
    """One change upon the other: each is seen alone."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text.replace("kernel\n", f"{kind}\n"))
    assert run(tmp_path) == (10, 1)
    assert run(tmp_path) == (10, 0)  # from disk
    for module, old, new, result in CHANGES:
        file = tmp_path / f"{module}.py"
        file.write_text(file.read_text().replace(old, new))
        assert run(tmp_path) == (result, 1), (module, new)

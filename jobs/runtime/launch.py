"""Main of a submitted driver: runs an entry point of ``jobs/`` by name.

``spark-submit`` puts the folder of its main file first on Python's path. Were that ``jobs/`` itself, ``import platform`` anywhere in
the standard library would find our ``jobs/runtime``; so the main file is a stub elsewhere that calls this
(:mod:`jobs.runtime.submit`).
"""

from __future__ import annotations

import runpy
import sys


def main(job: str) -> None:
    """Run ``jobs.<job>`` as ``__main__``; ends with its exit code, and with one line when it fails."""
    from jobs.runtime import runner

    try:
        runpy.run_module(f"jobs.{job}", run_name="__main__", alter_sys=False)
    except Exception as e:
        sys.exit(runner.report(e))

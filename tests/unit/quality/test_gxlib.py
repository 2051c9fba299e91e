"""great-expectations is imported wherever Python runs, and tells nobody."""

from __future__ import annotations

import subprocess
import sys

import pytest

from infra.config import ROOT

#: As a notebook and a worker of a test run have it: a main module that is no file.
_ASKED = """
from jobs.quality.gxlib import gx, gxe
import os, sys
assert gx.ExpectationSuite and gxe.ExpectColumnToExist
assert "pyspark.sql.connect" not in sys.modules
print(os.environ["GX_ANALYTICS_ENABLED"])
"""


@pytest.mark.slow
def test_where_the_main_module_is_no_file() -> None:
    done = subprocess.run([sys.executable, "-c", _ASKED], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "false\n"), done.stderr

"""great-expectations, which the whole of this package imports from here; when it is needed, for it takes a second.

Two things must be so before its first import. It asks once whether its maker may be told who uses it. And it looks for Spark Connect, where
pyspark takes a main module without a file (a notebook, ``python -c``, a worker of a test run) for its own doctests, and ends the process
because packages of Spark Connect are missing (``pyspark.sql.connect.utils.check_dependencies``).
"""

from __future__ import annotations

import os
import sys

_CONNECT = "pyspark.sql.connect"

os.environ["GX_ANALYTICS_ENABLED"] = "false"
_there = _CONNECT in sys.modules
if not _there:
    sys.modules[_CONNECT] = None  # type: ignore[assignment]  # an import of it is an ImportError, which great-expectations expects
try:
    import great_expectations as gx
    from great_expectations import expectations as gxe
finally:
    if not _there:
        del sys.modules[_CONNECT]

__all__ = ["gx", "gxe"]

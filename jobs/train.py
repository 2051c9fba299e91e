"""Entry point: train a model and register it, as ``flowlake train`` does. Takes the same options; needs no Spark session.

On a schedule, on new labelled traffic: ``python -m jobs.train --records /data/flows --labels /data/labels.parquet``.
"""

from __future__ import annotations

import sys

from ops.cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])

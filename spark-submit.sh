#!/usr/bin/env bash
# Submit a job of this project: ./spark-submit.sh meter_stream --master spark://host:7077 --conf-file conf/cluster.yaml
# Packs the code, adds jars and configuration, then becomes pyspark's own spark-submit. All the work: jobs/runtime/submit.py.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
python="${FLOWLAKE_PYTHON:-${FLOWLAKE_VENV:-$here/.venv}/bin/python}"
if ! [ -x "$python" ]; then
  echo "error: no Python environment at $python" >&2
  echo "  make setup, or name another interpreter in FLOWLAKE_PYTHON" >&2
  exit 7
fi
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m jobs.runtime.submit "$@"

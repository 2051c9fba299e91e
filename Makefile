# One task runner. `make help` lists what it does.
# Paths may hold blanks, at which make's own functions would cut them: what is computed here is whole text, quoted once for the shell.
quote = '$(subst ','\'',$(1))'
MAKEFILE := $(MAKEFILE_LIST)
SHELL := /bin/bash
.DEFAULT_GOAL := help
# The folder of this file, for whoever says `make -f`. (The list of makefiles, of this one alone so far, begins with a blank.)
hash := \#
ROOT := $(call quote,$(shell file=$(call quote,$(MAKEFILE)); dirname -- "$${file$(hash) }"))
# The Python of the environment that is there, else the first that starts (pyenv's names of versions not chosen do not).
# The order is that of infra/pythons.py: the one with the most tests first. Which will do is bootstrap's to say.
PYTHON ?= $(shell cd $(ROOT) && { sed -n 's/^executable = //p' $(call quote,$(or $(value FLOWLAKE_VENV),.venv))/pyvenv.cfg 2>/dev/null; printf '%s\n' $(PYTHONS); } | \
	while IFS= read -r name; do "$$name" -c '' 2>/dev/null </dev/null && command -v -- "$$name" && break; done)
PYTHONS := python3.11 python3.12 python3.13 python3
# Relative to ROOT, which every recipe changes to.
BIN := "$${FLOWLAKE_VENV:-.venv}"/bin
# For the shell, as they were typed. A capture file is named relative to the caller's folder, also with `make -C`.
export CAPTURE := $(value PCAP)
export LINK := $(value IFACE)
export LAKE_KIND := $(value LAKE)
export SOURCE_NAME := $(value SOURCE)
export CALLER := $(or $(value PWD),$(CURDIR))

.PHONY: help setup demo test test-long trino test-trino check fuzz bench lock lock-check clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(ROOT)/Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS=$$'\t' read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done
	@echo
	@echo '  make demo PCAP=capture.pcap      the same with a capture file'
	@echo '  make demo IFACE=lo               the same with live traffic of an interface'
	@echo '  make demo LAKE=s3                the same with the lake on an object store, which it starts'
	@echo '  make demo SOURCE=netflow         flow export: routers of our own, collector, stores'

setup: ## Environment from the lock file, jars from the pinned list (does nothing when both are there)
	@test -n $(call quote,$(PYTHON)) || { echo 'error: no Python 3 on PATH' >&2; echo '  install Python 3.11, 3.12 or 3.13 (Debian 12 and 13, Ubuntu 24.04: apt-get install python3 python3-venv)' >&2; exit 7; }
	@cd $(ROOT) && $(call quote,$(PYTHON)) infra/bootstrap.py

demo: setup ## The whole stream on this machine: live view, accounts, report
	@cd $(ROOT) && set -- && case "$$CAPTURE" in '') ;; /*) set -- --pcap "$$CAPTURE" ;; *) set -- --pcap "$$CALLER/$$CAPTURE" ;; esac && \
	{ [ -z "$$LINK" ] || set -- "$$@" --iface "$$LINK"; } && { [ -z "$$LAKE_KIND" ] || set -- "$$@" --lake "$$LAKE_KIND"; } && \
	{ [ -z "$$SOURCE_NAME" ] || set -- "$$@" --source "$$SOURCE_NAME"; } && \
	$(BIN)/flowlake demo "$$@"

test: setup ## Every test (real Kafka, PostgreSQL and Spark; FLOWLAKE_DATA names the folder of capture files)
	@cd $(ROOT) && $(BIN)/python -m pytest -m "not long" -n "$${WORKERS:-2}" --dist loadfile --no-loadscope-reorder $(ARGS)

test-long: setup ## Tests that take minutes, of what `make test` tries in a short form
	@cd $(ROOT) && $(BIN)/python -m pytest -m long $(ARGS)

trino: setup ## Fetch a Trino server and a Java for it (856 MB): the tests that need one are skipped without
	@cd $(ROOT) && $(BIN)/flowlake trino fetch $(ARGS)

test-trino: trino ## The questions of the documentation on a real Trino
	@cd $(ROOT) && $(BIN)/python -m pytest -m trino

check: setup ## Lint, format, types, imports, unused code, the fast unit tests, a little fuzzing
	@cd $(ROOT) && $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-cache --no-logo && \
	{ $(BIN)/mypy & types=$$!; $(BIN)/vulture && $(BIN)/vulture ops jobs sensors infra schemas docs tests; unused=$$?; \
	wait $$types && [ $$unused = 0 ]; } && \
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow" tests/unit tests/fuzz $(ARGS)

fuzz: setup ## Damaged frames, capture files and flow exports for ten minutes (ARGS='--seconds 60 --seed 1')
	@cd $(ROOT) && $(BIN)/python -m tests.fuzz $(ARGS)

bench: setup ## Benchmarks; results in var/bench/*.json
	@cd $(ROOT) && mkdir -p var/bench && failed=""; for what in meter growth flood sensor backlog "stream --peer" latency hot dashboards; do set -- $$what; \
	$(BIN)/flowlake bench "$$@" --json var/bench/$$1.json || failed="$$failed $$1"; done; [ -z "$$failed" ] || { echo "missed or failed:$$failed" >&2; exit 1; }

lock: setup ## Compile requirements.lock from requirements.in: one version of each package for every supported Python
	@cd $(ROOT) && UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
	--generate-hashes --no-header --no-annotate -o requirements.lock requirements.in && \
	UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate -o requirements-trino.lock requirements-trino.in

lock-check: setup ## Whether every supported Python and processor has all of requirements.lock (ARGS=--download: get it all)
	@cd $(ROOT) && $(BIN)/python -m infra.lockcheck $(ARGS)

clean: ## Stop the stack and remove environment, jars, data and caches
	@cd $(ROOT) && if [ -x $(BIN)/flowlake ]; then $(BIN)/flowlake down || true; fi
	@cd $(ROOT) && rm -rf .venv var .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info spark-warehouse metastore_db derby.log
	@cd $(ROOT) && find . -name __pycache__ -type d -prune -exec rm -rf {} +

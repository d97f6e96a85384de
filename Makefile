# Everything from a fresh clone: `make demo`, `make test`. Both set up what they need first.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PY := .venv/bin/python
PYTEST := .venv/bin/pytest -q
# Whole files side by side: most tests wait more than they compute.
BESIDE := -n 3 --dist loadfile
# Crashes at every step, in a cluster for each of three test processes.
CLUSTERS := -n 3 --dist load
# Fewer passed tests than this mean that a part of the suite was lost.
FEWEST := 5000
# How often `make soak` runs.
N ?= 10

# Thousands of processes start in a run: what Python compiles is kept, whatever the shell says.
export PYTHONDONTWRITEBYTECODE :=

# Only `make test` has two things to do: the checks run beside the tests.
MAKEFLAGS += --jobs=2

.PHONY: setup test suite check unit sim fuzz soak bench demo demo-canary demo-image schema proto lock clean help

help:
	@echo "make setup       Debian packages, .venv, locked Python dependencies"
	@echo "make demo        the whole story on this machine (KEEP=1 leaves it running)"
	@echo "make demo-canary a bad canary is taken back by itself, a good one promoted"
	@echo "make test        every check and test, root ones included"
	@echo "make check       ruff, mypy, import contracts"
	@echo "make unit        tests that need no root"
	@echo "make sim         rollouts and analyses in virtual time, 1,000 seeds (about 10 minutes)"
	@echo "make fuzz        properties with many more examples (about 10 minutes)"
	@echo "make soak N=10   lost requests and killed processes, again and again; 2 N runs of every strategy"
	@echo "                 at 500 requests/s; 2 N crashes at every step; how exact and fast traffic moves"
	@echo "make bench       against Docker Swarm in one run (ROUNDS=3 for medians)"
	@echo "make proto       generate stackd/wire/gen from schemas/rpc"
	@echo "make schema      generate schemas/stack.schema.json"
	@echo "make lock        resolve requirements.lock again"

setup:
	@scripts/setup

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy stackd tests
	.venv/bin/lint-imports

unit: setup
	$(PYTEST) $(BESIDE) -m "not host and not e2e"

test: check suite

suite: demo-image
	$(PYTEST) $(BESIDE) --fewest $(FEWEST)

sim: setup
	$(PYTEST) tests/scenarios tests/properties
	$(PYTEST) tests/properties/test_analysis.py tests/properties/test_analysis_table.py \
	  tests/properties/test_variants.py --hypothesis-profile deep --timeout 1800

fuzz: setup
	$(PYTEST) tests/properties --hypothesis-profile deep --timeout 3600

soak: demo-image
	for i in $$(seq $(N)); do \
	  echo "soak $$i of $(N)"; $(PYTEST) -rP --soak tests/e2e/test_lossless.py tests/e2e/test_nodes.py \
	    tests/e2e/test_partitions.py tests/e2e/test_hit_rollouts.py tests/e2e/test_faults.py || exit 1; \
	done
	$(PYTEST) -rP --soak -m soak
	$(PYTEST) $(CLUSTERS) -rP tests/e2e/test_crashpoints.py --crashes $$((2 * $(N)))
	$(PY) -m tests.soak.rollouts --runs $$((2 * $(N))) --logs build/soak
	$(PY) -m tests.soak.figures

bench: demo-image
	@scripts/docker
	@$(PY) -m tests.bench.against_swarm --rounds $(or $(ROUNDS),1)

demo-image: setup
	@$(PY) examples/demo-image/build.py

demo: demo-image
	@$(PY) examples/demo/demo.py $(if $(KEEP),--keep,)

demo-canary: demo-image
	@$(PY) examples/demo/canary.py

schema: setup
	$(PY) -m tests.tools.write_schema

proto: setup
	$(PY) -m tests.tools.generate_proto

lock:
	.venv/bin/pip-compile -q --strip-extras --extra dev --generate-hashes --allow-unsafe \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
	  --no-header -o requirements.lock pyproject.toml

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache

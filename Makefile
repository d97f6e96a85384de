# Everything from a fresh clone: `make demo`, `make test`. Both set up what they need first.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PY := .venv/bin/python
STAMP := .venv/.ready

.PHONY: setup test check unit host demo demo-image schema proto lock bench clean help

help:
	@echo "make setup       Debian packages, .venv, locked Python dependencies"
	@echo "make demo        the whole story on this machine (KEEP=1 leaves it running)"
	@echo "make test        every check and test, root ones included"
	@echo "make check       ruff, mypy, import contracts"
	@echo "make unit        tests that need no root"
	@echo "make proto       generate stackd/wire/gen from schemas/rpc"
	@echo "make schema      generate schemas/stack.schema.json"
	@echo "make lock        resolve requirements.lock again"

setup: $(STAMP)

$(STAMP): requirements.lock packages.txt scripts/setup
	@scripts/setup
	@touch $@

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy stackd tests
	.venv/bin/lint-imports --no-logo 2>/dev/null || .venv/bin/lint-imports

unit: setup
	.venv/bin/pytest -q -m "not host and not e2e"

test: check demo-image
	.venv/bin/pytest -q

demo-image: setup
	@$(PY) examples/demo-image/build.py

demo: demo-image
	@$(PY) examples/demo/demo.py $(if $(KEEP),--keep,)

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

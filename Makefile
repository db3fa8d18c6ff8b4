# Everything a person or a machine does with this repository. Needs git, make and Python 3.11 or newer (with venv).
#
#   make serve                     run arriero from the checkout
#   make check test                what CI runs
#   PYTHON=python3.12 make venv    with another interpreter

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
UV ?= $(or $(shell command -v uv),$(BIN)/uv)
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
LOCK := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet

.DEFAULT_GOAL := help
.PHONY: help venv serve test check check-format check-lint check-types check-guards format lock bench demo-model dist clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
	  printf '  make %-11s %s\n' "$$name" "$$text"; done

# Two stamps in one environment: `serve` installs what runs, everything else what checks as well.
$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "arriero needs Python 3.11 or newer, and '$(PYTHON)' is not; name one with PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-stamp: requirements.lock pyproject.toml | $(VENV)/pyvenv.cfg
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev-stamp: requirements-dev.lock $(VENV)/.run-stamp
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

venv: $(VENV)/.dev-stamp ## install arriero and its tools into .venv

serve: $(VENV)/.run-stamp ## run arriero; ARGS="--port 8080" adds flags
	$(BIN)/arriero serve $(ARGS)

# Two at once, because either waits half of its time: those that run whole programs, and the others.
test: $(VENV)/.dev-stamp ## run the tests; ARGS="-k splice" picks some
ifeq ($(strip $(ARGS)),)
	@mkdir -p build
	@$(BIN)/python -m pytest tests/e2e >build/test-e2e.log 2>&1 & programs=$$!; \
	$(BIN)/python -m pytest --ignore=tests/e2e; others=$$?; \
	wait $$programs; programs=$$?; cat build/test-e2e.log; exit $$((others | programs))
else
	$(BIN)/python -m pytest $(ARGS)
endif

check: check-format check-lint check-types check-guards ## format, lint, types, floors, test files, sizes

check-format: $(VENV)/.dev-stamp
	$(BIN)/ruff format --check

check-lint: $(VENV)/.dev-stamp
	$(BIN)/ruff check

check-types: $(VENV)/.dev-stamp
	$(BIN)/mypy

check-guards: $(VENV)/.dev-stamp
	$(BIN)/python -m tools.guards

format: $(VENV)/.dev-stamp ## rewrite the source in the common form
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

lock: ## renew both lock files (needs uv); ARGS=--upgrade takes newer versions
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	$(UV) pip compile pyproject.toml --extra engine --group build $(LOCK) $(ARGS) -o requirements.lock >/dev/null
	$(UV) pip compile pyproject.toml --extra engine --group build --group dev $(LOCK) $(ARGS) -o requirements-dev.lock >/dev/null

bench: $(VENV)/.run-stamp ## measure against nginx on this machine (needs gcc and nginx); ARGS=--quick for a minute
	$(BIN)/python -m benchmarks.run $(ARGS)

# In an environment of its own: what trains a model is large, and nothing else needs it.
DEMO := build/demo-model/bin/python
demo-model: $(VENV)/.run-stamp ## train, export and score the demo model anew (half an hour)
	$(PYTHON) -m venv build/demo-model
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["demo-model"], sep="\n")' \
	  > build/demo-model/requirements.txt
	$(DEMO) -m pip install --quiet --require-hashes -r requirements.lock
	$(DEMO) -m pip install --quiet -r build/demo-model/requirements.txt
	for step in check train export evaluate; do $(DEMO) -m tools.demo_model.$$step || exit 1; done

dist: $(VENV)/.run-stamp ## build the wheel and the sdist into dist/
	$(BIN)/python -m hatchling build

clean: ## remove what was built; .venv stays
	rm -rf build dist benchmarks/build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

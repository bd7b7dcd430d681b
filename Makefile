# Everything that a person or the continuous integration runs. Needs make and Python >= 3.11, nothing else.

PYTHON ?= python3
PROCESSES ?= 3
ARGS ?=
CASES ?= 2000
ROUNDS ?= 20
EXECUTIONS ?= 2000
FAULTS ?= 300

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
UV := uv==0.13.8

.DEFAULT_GOAL := help
.PHONY: help install demo test test-thorough test-rabbitmq chaos check check-style check-types check-imports check-compose check-docs bench lock clean
.NOTPARALLEL:

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Create .venv and install what the lock file says

# Done again only when the lock file or the project's own metadata is newer than the stamp.
$(INSTALLED): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	  echo "$(PYTHON) is not here: install Python >= 3.11, or name it: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python >= 3.11 is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1): make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot create virtual environments: install its venv module (Debian: apt install python3-venv)" >&2; \
	  exit 1; }
	@echo "Installing into $(VENV) ..." >&2
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED) ## Recover a real service, and take back a recovery that fails
	@$(BIN)/python examples/demo/run.py $(ARGS)

test: $(INSTALLED) ## Run the tests (ARGS='-k name' for some of them)
	@$(BIN)/python -m pytest -n $(PROCESSES) $(ARGS)

test-thorough: $(INSTALLED) ## Run the tests that take long: storms, kills at every step, planted bugs
	@$(BIN)/python -m pytest -n $(PROCESSES) -m 'thorough and not long' $(ARGS)

test-rabbitmq: $(INSTALLED) ## Run the tests of clusters with their messages on RabbitMQ, all of them
	@$(BIN)/python -m pytest -n $(PROCESSES) -m rabbitmq $(ARGS)

chaos: $(INSTALLED) ## Faults of every kind, for long (SEED=n to repeat, CASES=2000, ROUNDS=20, EXECUTIONS=2000, FAULTS=300)
	@$(if $(SEED),REX_PROPERTY_SEED=$(SEED) REX_STORM_SEED=$(SEED) REX_CHAOS_SEED=$(SEED)) REX_CHAOS=1 \
	  REX_PROPERTY_CASES=$(CASES) REX_STORM_ROUNDS=$(ROUNDS) \
	  REX_KILL_EXECUTIONS=$(EXECUTIONS) REX_KILL_FAULTS=$(FAULTS) \
	  $(BIN)/python -m pytest -s -p no:randomly $(addprefix tests/chaos/test_,rollback_property.py storm.py cuts.py \
	  hosts.py messages.py resources.py takeover.py failover.py rolling_restart.py \
	  sentinel.py kill_storm.py) $(ARGS)

check: check-style check-types check-imports check-compose check-docs ## Check style, types, imports, compose file, docs

check-style: $(INSTALLED)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

check-types: $(INSTALLED)
	@$(BIN)/mypy

check-imports: $(INSTALLED)
	@$(BIN)/lint-imports --no-logo

check-compose: $(INSTALLED)
	@$(BIN)/python deploy/check_compose.py

check-docs: $(INSTALLED)
	@if [ -f docs/generate.py ]; then $(BIN)/python docs/generate.py --check; fi

bench: $(INSTALLED) ## Compare with raw Celery (ARGS=--json for one JSON object, ARGS=--devices for 500 devices)
	@$(BIN)/python -m benchmarks $(ARGS)

lock: ## Write the lock files anew after a change of the dependencies (ARGS=--upgrade for newer versions)
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT \
	&& $(PYTHON) -m venv "$$folder" && "$$folder/bin/pip" install --quiet --disable-pip-version-check $(UV) \
	&& compile="$$folder/bin/uv pip compile pyproject.toml --quiet --universal --generate-hashes --no-build \
	  --python-version 3.11 --no-header --no-annotate $(ARGS)" \
	&& $$compile --extra embedded --extra flower --group dev -o requirements.lock \
	&& $$compile --extra flower --constraint requirements.lock -o requirements-runtime.lock

clean: ## Remove .venv and everything that was generated
	@rm -rf $(VENV) dist build .mypy_cache .ruff_cache .import_linter_cache .hypothesis .pytest_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

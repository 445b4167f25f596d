# Two commands are enough: `make run` and `make test`. Each sets up .venv by itself, once.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
ARGS   ?=
# Most tests wait for servers and daemons most of the time.
WORKERS ?= 4
MINUTES ?= 5
SEED   ?=

.DEFAULT_GOAL := help
.PHONY: help run test test-clock chaos bench bench-as-of bench-recovery lint format lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "ARGS='…' is passed on: make test ARGS='tests/unit -x'"

run: $(VENV)/.installed ## the daemon, on an embedded replica set unless WATCHER_MONGODB_URI names a deployment
	@exec $(BIN)/watcher run $(ARGS)

test: $(VENV)/.installed-tools ## all tests, in four processes; WORKERS=0: in one
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

test-clock: $(VENV)/.installed-tools ## some tests again, late in the evening, at the end of a year, on 29 February, on days that clocks change
	@tests/clock.sh $(ARGS)

chaos: $(VENV)/.installed-tools ## everything fails at random for MINUTES=5, and nothing may be lost; SEED=… makes the same choices again
	@$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

bench: $(VENV)/.installed ## throughput, lag, memory, disk, cost to the application, beside Debezium and others
	@$(BIN)/python benchmarks/bench.py $(ARGS)

bench-as-of: $(VENV)/.installed ## what a document of 50,000 versions was at random moments, beside folding all of them
	@$(BIN)/python benchmarks/as_of.py $(ARGS)

bench-recovery: $(VENV)/.installed ## seconds until events are recorded again after a restart, a take-over, a fail-over
	@$(BIN)/python benchmarks/recovery.py $(ARGS)

lint: $(VENV)/.installed-tools ## style, types, and which package may import which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/cython-lint --no-pycodestyle watcher/events/*.pyx watcher/events/*.pxd change_history/bson/*.pyx change_history/seals/*.pyx watcher/words/*.pyx
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-tools ## put the code into the project's style
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

lock: $(VENV)/.made ## what goes into the image, by version and digest, brought up to date: deploy/requirements.txt
	@$(PIP) install uv
	@$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 \
	  --custom-compile-command 'make lock' --extra web --extra seal --output-file deploy/requirements.txt pyproject.toml

clean: ## remove .venv and caches
	rm -rf $(VENV) .venv-bench watcher/events/*.so change_history/bson/*.so change_history/seals/*.so watcher/words/*.so build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp is younger than what it was made from, so a set-up environment costs nothing.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed and '$(PYTHON)' is not it. Name one: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments. On Debian and Ubuntu: apt-get install -y python3-venv" >&2; exit 1; }
	@echo "making $(VENV)" >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install 'pip>=25.1'
	@touch $@

$(VENV)/.installed: pyproject.toml hatch_build.py $(wildcard watcher/events/*.pyx watcher/events/*.pxd change_history/bson/*.pyx change_history/seals/*.pyx watcher/words/*.pyx) $(VENV)/.made
	@echo "installing mongo-change-watcher into $(VENV)" >&2
	@$(PIP) install --editable '.[embedded,web]'
	@$(BIN)/python -c 'import sys; from watcher.events import fast_path; sys.exit(not fast_path.COMPILED)' || { \
	  echo "recording is not compiled and takes over ten times the CPU. It needs Python's headers: on Debian and Ubuntu" >&2; \
	  echo "apt-get install -y python3-dev, then make clean. A C compiler comes from PyPI where the machine has none." >&2; }
	@$(BIN)/python -m compileall -q change_history config models watcher # also where PYTHONDONTWRITEBYTECODE is set
	@touch $@

$(VENV)/.installed-tools: $(VENV)/.installed
	@echo "installing the tools of tests and lint into $(VENV)" >&2
	@$(PIP) install --group test --group lint
	@touch $@

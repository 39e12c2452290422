# Everything a clone needs comes from here; only Python, make and a package index are expected.

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
MINUTES  ?= 10
SEED     ?= 1
# Processes of make test: the tests wait half of their time.
PROCESSES ?= 4
DATABASE ?= sqlite
BIN     = $(VENV)/bin
PIP     = $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help test coverage chaos-test demo demo-web screenshots chaos walks bench bench-peers limits lint format types ci clean

help:
	@echo "make test      install into $(VENV) and run the tests (ARGS=... goes to pytest)"
	@echo "make coverage  run them and tell which lines and branches none of them reaches (three times as long)"
	@echo "make chaos-test  kill workers for a minute and check that no task is lost"
	@echo "make demo      run the example project from end to end"
	@echo "make demo-web  serve its admin, with a worker, until Ctrl-C"
	@echo "make screenshots  store the screenshots of the admin in docs/images/admin (needs chromium, fonts-roboto-unhinted, fonts-dejavu-core and fonts-wqy-zenhei of Debian)"
	@echo "make chaos     inject random faults for MINUTES=$(MINUTES) with SEED=$(SEED) on DATABASE=$(DATABASE)"
	@echo "make walks     kill, or lose a reply, after every statement and command of each scenario, on DATABASE=$(DATABASE)"
	@echo "make bench     measure the package beside what PostgreSQL and Redis allow at most"
	@echo "make bench-peers  measure other task packages beside it, each in an environment of its own"
	@echo "make limits    measure what PostgreSQL and Redis allow at most"
	@echo "make lint      ruff check and ruff format --check;  make format mends"
	@echo "make types     mypy"
	@echo "make ci        everything that a change must pass"
	@echo "make clean     remove what these made"

test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(PROCESSES) $(ARGS)

coverage: $(VENV)/.test
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered -n $(PROCESSES) $(ARGS)

chaos-test: $(VENV)/.test
	$(BIN)/python -m pytest -o faulthandler_timeout=1000 tests/chaos $(ARGS)

demo: $(VENV)/.demo
	$(BIN)/python example_project/demo.py

demo-web: $(VENV)/.demo
	$(BIN)/python example_project/demo.py --web

screenshots: $(VENV)/.test
	STORE_SCREENSHOTS=1 $(BIN)/python -m pytest tests/screenshots

chaos: $(VENV)/.test
	$(BIN)/python -m benchmarks.chaos random-faults --minutes $(MINUTES) --seed $(SEED) --database $(DATABASE) --json build/chaos-random-faults.json

walks: $(VENV)/.test
	$(BIN)/python -m benchmarks.chaos crash-points --jobs 6 --database $(DATABASE) --json build/chaos-crash-points.json

bench: $(VENV)/.test $(VENV)/.bench
	$(BIN)/python -m benchmarks.speed ours $(ARGS)

bench-peers: $(VENV)/.test $(VENV)/.bench
	$(BIN)/python -m benchmarks.speed peers $(ARGS)

limits: $(VENV)/.test $(VENV)/.bench
	$(BIN)/python -m benchmarks.speed limits $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev
	$(BIN)/mypy

ci:
	.ci/run

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .coverage .coverage.* htmlcov

# One stamp per set of requirements: installed again only when the metadata changes.
$(VENV)/.test $(VENV)/.demo $(VENV)/.dev $(VENV)/.bench: $(VENV)/.%: setup.py pyproject.toml | $(BIN)/python
	@echo "Installing django-simpletask3[$*] into $(VENV) ..."
	@$(PIP) install --editable ".[$*]"
	@touch $@

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, PYTHON=... names one")'
	$(PYTHON) -m venv $(VENV)

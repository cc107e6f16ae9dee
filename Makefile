# Two commands on a fresh machine with Python 3.11 or newer and make: `make demo`, `make test`.

PYTHON ?= python3
VENV ?= .venv
DEMO_ARGS ?= --workers 2 --timeout 60 --compare --certify
TEST_ARGS ?= --numprocesses auto --dist loadfile

BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e
NEW_ENOUGH = -c 'import sys; sys.exit(sys.version_info < (3, 11))'

.PHONY: help demo test lint clean
.NOTPARALLEL:

help:
	@echo 'make demo    install into $(VENV), then search the bundled NAFLD table for about a minute'
	@echo 'make test    install into $(VENV) with the developer tools, then run the tests'
	@echo 'make lint    ruff check, ruff format --check, mypy and the import rules'
	@echo 'make clean   remove $(VENV) and all caches; runs/ stays'
	@echo
	@echo 'Variables: PYTHON=$(PYTHON)  VENV=$(VENV)  DEMO_ARGS="$(DEMO_ARGS)"  TEST_ARGS="$(TEST_ARGS)"'

demo: $(VENV)/.demo
	$(BIN)/raretune search nafld $(DEMO_ARGS)
	@echo
	@echo 'What was found can be had again, bit for bit:'
	$(BIN)/raretune retrain nafld --output runs/nafld/again

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.demo: $(VENV)/.python pyproject.toml constraints.txt
	@echo 'installing raretune into $(VENV); the first time takes a minute or more'
	@$(INSTALL) '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml constraints.txt
	@echo 'installing raretune and its developer tools into $(VENV); the first time takes a minute or more'
	@$(INSTALL) '.[dev]'
	@touch $(VENV)/.demo $@

# Keeps a usable environment; otherwise makes one with the first Python that is new enough.
$(VENV)/.python:
	@if ! $(BIN)/python -c 'import pip' 2>/dev/null || ! $(BIN)/python $(NEW_ENOUGH); then \
	    found=; \
	    for candidate in '$(PYTHON)' python3.12 python3.11; do \
	        if "$$candidate" $(NEW_ENOUGH) 2>/dev/null; then found="$$candidate"; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo 'error: no Python 3.11 or newer found as $(PYTHON), python3.12 or python3.11;' \
	            'install one or name it: make PYTHON=/path/to/python3' >&2; \
	        exit 1; \
	    fi; \
	    if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
	        echo "error: $$found has no venv or no ensurepip module;" \
	            'install them (on Debian or Ubuntu: apt install python3-venv)' >&2; \
	        exit 1; \
	    fi; \
	    "$$found" -m venv --clear '$(VENV)'; \
	fi
	@touch $@

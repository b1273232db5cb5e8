# Needs python3 (3.11 or newer, with venv), git and make; brings everything else itself. `make` alone lists the targets.
# Written for GNU make 3.81, the one that macOS has.

# Which Python makes .venv: `make PYTHON=python3.12 run`. Without it the first of these that will do.
PYTHON ?= python3 python3.13 python3.12 python3.11
# What to hand on to the program behind a target: `make test ARGS="-k proxy"`.
ARGS ?=

BIN := .venv/bin
# Says what is missing, in one sentence, and how to get it.
NO_PYTHON := AudiaPro needs Python 3.11 or newer: `apt install python3 python3-venv` (Debian) or `brew install python` (macOS)
NO_VENV := is there, but cannot make virtual environments: `apt install python3-venv` (Debian) or `brew install python` (macOS)

.PHONY: help run test check bench picture lock format clean

help:
	@echo 'make run      serve on this machine, with a demonstration tenant'
	@echo 'make test     run all tests, on SQLite, PostgreSQL and Redis, and in Chromium'
	@echo 'make check    look at style, types and the arrows between modules'
	@echo 'make bench    measure, and print the table of docs/performance.md'
	@echo 'make picture  take the picture of README.md anew'
	@echo 'make format   rewrite the code in the one style'
	@echo 'make lock     compile requirements*.txt from requirements*.in; with ARGS=--upgrade to the newest versions'
	@echo 'make clean    remove .venv and caches; never .env or a database'

run: .venv/installed
	@test -e .env || $(BIN)/python generate_keys.py --write .env
	@APP_ENV=development $(BIN)/flask develop $(ARGS)

test: .venv/installed-dev
	@$(BIN)/pytest -n "$$($(BIN)/python -c 'import os; print(min(max(os.cpu_count() or 2, 2), 8))')" --dist worksteal $(ARGS)

check: .venv/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict app
	@$(BIN)/lint-imports

bench: .venv/installed-dev
	@$(BIN)/python -m bench $(ARGS)

picture: .venv/installed-dev
	@$(BIN)/python -m tests.browser.picture

format: .venv/installed-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

COMPILE = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock'

lock: .venv/installed-dev
	@$(COMPILE) $(ARGS) requirements.in -o requirements.txt
	@$(COMPILE) $(ARGS) requirements-aws.in -o requirements-aws.txt
	@$(COMPILE) $(ARGS) requirements-vault.in -o requirements-vault.txt
	@$(COMPILE) $(ARGS) requirements-dev.in -o requirements-dev.txt

clean:
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +

# pip is only heard when it fails. The development requirements hold those of the service too.
INSTALL = @echo 'Installing $<'; \
	said=$$($(BIN)/python -m pip install --disable-pip-version-check --no-input --require-hashes -r $< 2>&1) \
	|| { echo "$$said" >&2; exit 1; }

.venv/installed: requirements.txt $(BIN)/python
	$(INSTALL)
	@touch $@

.venv/installed-dev: requirements-dev.txt $(BIN)/python
	$(INSTALL)
	@touch .venv/installed $@

# Removed if anything fails, and by make if it is interrupted: half an environment would look like a whole one.
$(BIN)/python:
	@found=; for python in $(PYTHON); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
		found=$${found:-$$python}; \
		"$$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || continue; \
		rm -rf .venv; \
		"$$python" -m venv .venv >/dev/null 2>&1 && exit 0; \
		rm -rf .venv; \
	done; \
	if test -n "$$found"; then echo "$$found" '$(NO_VENV).' >&2; else echo '$(NO_PYTHON).' >&2; fi; exit 1

# On Windows without make, the two commands in README.md do the same as `make venv`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
INSTALLED := $(VENV)/.installed

.PHONY: help venv demo test lock configs

help:
	@echo "make venv     the environment in $(VENV), exactly as in requirements.lock"
	@echo "make demo     everything once on generated images, in ./demo"
	@echo "make test     style, types, tests"
	@echo "make lock     renew requirements.lock from pyproject.toml"
	@echo "make configs  renew configs/ and docs/settings*.md from src/srpu/settings.py"

venv: $(INSTALLED)

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --python $(VENV) --require-hashes -r requirements.lock
	$(BIN)/uv pip install --python $(VENV) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c "open('$(INSTALLED)', 'w').close()"

demo: venv
	$(BIN)/srpu demo

test: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -n auto

# The lock names no host and holds for Linux, Windows and macOS; --upgrade is left out so that nothing moves unasked.
lock: venv
	$(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --extra dev --extra wandb \
		pyproject.toml -o requirements.lock

configs: venv
	$(BIN)/srpu config write --overwrite
	$(BIN)/srpu config reference docs

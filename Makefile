# `make demo` and `make test` are all a fresh machine with Python 3.11+ and make needs.
PYTHON ?= python3
BIN := .venv/bin
export PYTHONSAFEPATH := 1

.PHONY: demo test lint types unit integration bench proto schema clean

demo: .venv/.run
	$(BIN)/meshbridge demo

test: lint types unit

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: .venv/.dev
	$(BIN)/mypy

unit: .venv/.dev
	$(BIN)/python -m pytest --cov --cov-report=term --cov-fail-under=90

# Builds istiod once, into a cache outside the checkout; 75 means that it can't be had here.
integration: .venv/.dev
	$(BIN)/python integration/build_istiod.py || test $$? -eq 75
	$(BIN)/python -m pytest integration -m integration

bench: .venv/.dev
	$(BIN)/python tests/benchmarks/mesh.py --json bench.json

proto: .venv/.dev  # regenerates what the .proto files give
	$(BIN)/python -m grpc_tools.protoc -I schemas/proto --python_out=schemas/proto --pyi_out=schemas/proto \
	  meshbridge_mcp.proto meshbridge_networking.proto

schema: .venv/.dev  # regenerates the JSON Schema of the configuration and the reference pages
	$(BIN)/meshbridge schema > schemas/config.schema.json
	$(BIN)/python -m meshbridge.bridge.config.reference > bridge/config/REFERENCE.md
	$(BIN)/python -m meshbridge.bridge.metrics > bridge/METRICS.md

.venv/.run: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@ .venv/.run

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# `make demo` and `make test` are all a fresh machine with Python 3.11+ and make needs.
PYTHON ?= python3
BIN := .venv/bin
export PYTHONSAFEPATH := 1

.PHONY: demo test lint types unit integration bench bench-registries proto schema clean

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

# What has to be built or fetched goes into a cache outside the checkout, once; a builder exits with 75
# where its thing can't be had, and the tests that need it then skip loudly.
BUILDERS := build_istiod.py build_eureka.py build_jvm.py consul/fetch.py mesh/fetch_envoy.py build_kubernetes.py build_helm.py

integration: .venv/.dev
	set -e; for builder in $(BUILDERS); do $(BIN)/python integration/$$builder || test $$? -eq 75; done
	$(BIN)/python -m pytest integration -m integration
	$(BIN)/python -m pytest -q tests/deploy  # once more: now there is helm

bench: .venv/.dev
	$(BIN)/python tests/benchmarks/mesh.py --json bench.json
	$(BIN)/python tests/benchmarks/mcp.py
	$(BIN)/python tests/benchmarks/whole_way.py || test $$? -eq 75  # there is no ZooKeeper

bench-registries: .venv/.dev  # needs the real servers, see integration/
	$(BIN)/python tests/benchmarks/zookeeper.py
	$(BIN)/python tests/benchmarks/eureka.py
	PYTHONPATH=. $(BIN)/python tests/benchmarks/consul_adapter.py
	PYTHONPATH=. $(BIN)/python tests/benchmarks/kubernetes_output.py

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

# Every target works on a fresh machine with Python 3.11+, a C compiler and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet install
STAMP := $(VENV)/.built
CORE := $(wildcard fastmap/*.pyx fastmap/*.pxd)
NODE_SDKS := tests/sdks/node/node_modules/.installed
NODE_PEERS := benchmarks/peers/node/node_modules/.installed

.PHONY: build run test lint format sdks bench bench-peers clean

build: $(STAMP)  ## Create .venv with everything compiled and installed.

$(VENV)/.tools: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing dependencies into $(VENV) ..."
	@$(PIP) --upgrade "pip>=25.1" "setuptools>=77.0.3" "Cython>=3.1,<4"
	@$(PIP) --group dev
	@touch $@

$(STAMP): $(VENV)/.tools setup.py $(CORE)
	@echo "compiling ..."
	@PYTHONWARNINGS=ignore $(PIP) --no-build-isolation --editable .
	@touch $@

run: build  ## Serve; without MIXPANEL_PROJECT_TOKEN a stand-in on this machine plays Mixpanel.
	@exec $(BIN)/gateway run $(if $(MIXPANEL_PROJECT_TOKEN),,--sandbox)

test: build  ## Run all tests; those of SDKs that are not installed skip (see sdks).
	@$(BIN)/pytest

sdks: $(NODE_SDKS)  ## Install the SDKs that some tests drive; needs npm.

$(NODE_SDKS): tests/sdks/node/package.json
	npm install --no-audit --no-fund --no-package-lock --loglevel=error --prefix tests/sdks/node
	@touch $@

lint: build  ## Check style and types.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint --max-line-length 110 fastmap

format: build  ## Rewrite the sources in the project's style.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: build  ## Measure the mapping beside its peers; those that are not installed are left out.
	@$(BIN)/python -m benchmarks map

bench-peers: $(NODE_PEERS)  ## Install the peers that bench compares with; needs npm.

$(NODE_PEERS): benchmarks/peers/node/package.json
	npm install --no-audit --no-fund --no-package-lock --loglevel=error --prefix benchmarks/peers/node
	@touch $@

clean:  ## Remove everything that was built.
	git clean -fdXq build fastmap
	rm -rf $(VENV)

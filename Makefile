# Every target works on a fresh machine with Python 3.11+, a C compiler and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet
STAMP := $(VENV)/.built
SANITIZED := $(filter-out %/test_leaks.py %/test_stubs.py, $(wildcard tests/unit/fastmap/test_*.py)) tests/fuzz/test_fuzz.py tests/unit/events/test_recovery.py
FUZZ_SECONDS ?= 60
AIOHTTP_RANGE := $(shell sed -n 's/.*"\(aiohttp>=[^"]*\)".*/\1/p' pyproject.toml)
OLDEST_AIOHTTP := $(shell sed -n 's/.*"aiohttp>=\([0-9.]*\),.*/\1/p' pyproject.toml)
CORE := $(wildcard fastmap/*.pyx fastmap/*.pxd)
NODE_SDKS := tests/sdks/node/node_modules/.installed
GO_SDKS := tests/sdks/go/build/send
JVM_SDKS := tests/sdks/jvm/target/.built
SDK_TOOLS := npm go java mvn chromium
has = $(if $(shell command -v $(1)),$(2))
NODE_PEERS := benchmarks/peers/node/node_modules/.installed

AIOHTTP_RUNS := oldest oldest-no-fast-path newest newest-no-fast-path

.PHONY: build dev run lock test test-fast test-aiohttp test-sdks torture sanitize damage fuzz lint docs format sdks bench bench-soak bench-peers clean

build: $(STAMP)  ## Create .venv with the gateway compiled and installed: all that running it needs.

# Said before anything is downloaded; a .venv works only with the Python that made it.
.PHONY: preflight
preflight:
	@command -v $(PYTHON) >/dev/null || { echo "there is no $(PYTHON); install Python 3.11 or newer, or name yours: make PYTHON=..."; exit 1; }
	@$(PYTHON) setup.py preflight
	@test ! -e $(VENV) || { \
	  wanted=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  found=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo "a Python that is gone"); \
	  made=$$(sed -n 's/^version = \([0-9]*\.[0-9]*\).*/\1/p' $(VENV)/pyvenv.cfg 2>/dev/null); \
	  test "$$found" = "$$wanted" -a "$$made" = "$$wanted" || { \
	    echo "$(VENV) was made by another Python ($${made:-unknown}, runs $$found; $(PYTHON) is $$wanted):"; \
	    echo "remove it with make clean and try again, or keep it with make PYTHON=python$$made"; exit 1; }; }

$(VENV)/.tools: pyproject.toml | preflight
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@echo "1/3 what building needs, into $(VENV)"
	@$(PIP) --upgrade "setuptools>=77.0.3" "Cython>=3.1,<4"
	@touch $@

$(STAMP): $(VENV)/.tools setup.py requirements.lock $(CORE)
	@echo "2/3 translating and compiling the core"
	@PYTHONWARNINGS=ignore $(BIN)/python setup.py -q build_ext --inplace
	@echo "3/3 what running needs"
	@$(PIP) --require-hashes --requirement requirements.lock
	@PYTHONWARNINGS=ignore $(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

dev: $(VENV)/.dev  ## Add what testing, linting and measuring need.

$(VENV)/.dev: $(STAMP) pyproject.toml
	@echo "what developing needs, into $(VENV)"
	@$(PIP) --upgrade "pip>=25.1"  # the first that knows groups
	@$(PIP) --group dev
	@touch $@

run: build  ## Serve; without MIXPANEL_PROJECT_TOKEN a stand-in on this machine plays Mixpanel.
	@exec $(BIN)/gateway run $(if $(MIXPANEL_PROJECT_TOKEN),,--sandbox)

test: dev  ## Run all tests but those with SDKs, on up to four cores.
	@$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal

test-fast: dev  ## Run the tests that start no gateway of its own and break nothing.
	@$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal tests/unit

test-aiohttp: dev  ## Test what speaks HTTP with the oldest and the newest aiohttp that may be installed, each with and without the fast path.
	@$(PIP) --no-warn-conflicts --upgrade --target build/aiohttp-oldest aiohttp==$(OLDEST_AIOHTTP)
	@$(PIP) --no-warn-conflicts --upgrade --target build/aiohttp-newest "$(AIOHTTP_RANGE)"
	@set -e; for run in $(AIOHTTP_RUNS); do version=$${run%%-*}; way=$${run#$$version}; \
	  AIOHTTP=$$version PYTHONPATH=build/aiohttp-$$version \
	  $(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal $${way:+-$$way} tests/unit/http tests/unit/ingest tests/unit/admin tests/unit/sandbox; \
	done

lock: dev  ## Take the newest versions of what running needs into requirements.lock.
	@$(PYTHON) -m venv build/lock
	@build/lock/bin/pip --disable-pip-version-check install --quiet pip-tools==7.6.2
	@build/lock/bin/pip-compile --quiet --upgrade --generate-hashes --strip-extras --no-header --no-annotate \
	--no-emit-find-links --no-emit-index-url --no-emit-trusted-host \
	--output-file requirements.lock pyproject.toml

test-sdks: dev  ## Test with real SDKs; those that are not installed skip (see sdks).
	@$(BIN)/pytest -n 4 tests/sdks

torture: dev  ## Break everything that can break, at full scale, and print what held; takes a while.
	@$(BIN)/python -m tests.torture

sdks: dev $(call has,npm,$(NODE_SDKS)) $(call has,go,$(GO_SDKS)) $(call has,mvn,$(JVM_SDKS))  ## Install the SDKs that test-sdks needs.
	@for tool in $(SDK_TOOLS); do \
	  command -v $$tool >/dev/null || echo "$$tool is missing: the tests that need it will skip"; \
	done

$(NODE_SDKS): tests/sdks/node/package.json
	npm install --no-audit --no-fund --no-package-lock --loglevel=error --prefix tests/sdks/node
	@touch $@

$(GO_SDKS): $(wildcard tests/sdks/go/*.*)
	cd tests/sdks/go && go build -o build/send .

$(JVM_SDKS): tests/sdks/jvm/pom.xml $(wildcard tests/sdks/jvm/src/main/*/*)
	cd tests/sdks/jvm && mvn --batch-mode --quiet compile
	@touch $@

lint: dev  ## Check style and types.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint --max-line-length 110 fastmap

docs: dev  ## Write the tables of the documents that come from the code.
	@$(BIN)/python docs/generate.py

format: dev  ## Rewrite the sources in the project's style.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: dev  ## Measure everything beside its peers, in some minutes, as figures and as a page.
	@$(BIN)/python -m benchmarks report

bench-soak: dev  ## Load the gateway for ten minutes; watch memory, descriptors and ledger.
	@$(BIN)/python -m benchmarks soak --json build/benchmarks/soak.json

bench-peers: $(NODE_PEERS)  ## Install what bench compares with from npm; nginx is used where it is.

$(NODE_PEERS): benchmarks/peers/node/package.json
	npm install --no-audit --no-fund --no-package-lock --loglevel=error --prefix benchmarks/peers/node
	@touch $@

sanitize: dev  ## Test the core built with address and undefined-behaviour sanitizers.
	@FASTMAP_BUILD=sanitize PYTHONWARNINGS=ignore $(BIN)/python setup.py -q build --build-lib build/sanitize --build-temp build/sanitize-temp
	@FASTMAP_BUILD=sanitize PYTHONPATH=build/sanitize PYTHONMALLOC=malloc LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	$(BIN)/pytest -p no:cacheprovider --capture=no $(SANITIZED)

damage: dev  ## Damage 100,000 bodies at random, and print what of them is delivered.
	@$(BIN)/python -m tests.support.damage_bodies

fuzz: $(VENV)/.fuzz  ## Feed bytes of all kinds to the decoder and the core for FUZZ_SECONDS.
	@$(BIN)/python -m tests.fuzz.fuzz_events -max_total_time=$(FUZZ_SECONDS) -dict=tests/fuzz/json.dict -max_len=4096 -timeout=10
	@$(BIN)/python -m tests.fuzz.fuzz_plan -max_total_time=$(FUZZ_SECONDS) -max_len=2048 -timeout=10

$(VENV)/.fuzz: $(VENV)/.dev
	@$(PIP) --group fuzz
	@touch $@

clean:  ## Remove everything that was built.
	git clean -fdXq build fastmap
	rm -rf $(VENV)

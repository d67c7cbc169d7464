# `make quickstart` and `make test` do all the set-up they need: Python 3.11, git and make suffice.
VENV ?= .venv
PYTHON ?= python3.11
BIN := $(VENV)/bin

export MLFLOW_TRACKING_URI ?= sqlite:///$(CURDIR)/mlflow.db
export MLFLOW_DISABLE_TELEMETRY ?= true
export BENTOML_DO_NOT_TRACK ?= true
export DO_NOT_TRACK ?= true
# Alembic's notes while MLflow makes its database.
export MLFLOW_LOGGING_LEVEL ?= WARNING
# pip is told of a folder of wheels by PIP_FIND_LINKS; uv by its own variable.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export TOKENIZERS_PARALLELISM ?= true

.PHONY: help quickstart test ci test-server test-uv test-page test-real test-spark test-image test-rolling fuzz soak bench-serving lint serve ui screenshots bench coverage protocol check-hub micro-encoder lock clean
.DEFAULT_GOAL := help

help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

$(BIN)/.installed: requirements.lock
	@$(PYTHON) --version >/dev/null 2>&1 || { echo "error: $(PYTHON) not found; give one: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# seqeval comes as source: built in an environment of its own, not by the installer that setuptools has given up.
	$(BIN)/pip install --quiet --disable-pip-version-check --use-pep517 -r requirements.lock
	@touch $@

quickstart: $(BIN)/.installed ## the whole job on the micro world, from rows to an answer over HTTP
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pipelines.check
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/mlflow run . --env-manager local --experiment-name polystilts

test: $(BIN)/.installed ## the test suite, offline
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p no:cacheprovider -n 2 --dist loadfile

lint: $(BIN)/.installed ## ruff format and check, mypy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

ci: lint test test-server test-uv test-page ## what CI runs: lint, tests, and what needs the registry or a browser

test-server: ## the server's tests in an environment of serving/requirements.lock alone
	$(PYTHON) -m venv --clear .venv-server
	.venv-server/bin/pip install --quiet --disable-pip-version-check --require-hashes -r serving/requirements.lock
	.venv-server/bin/pip install --quiet --disable-pip-version-check $(shell sed -n -E '/^(cyclonedx-python-lib|pytest|pytest-timeout|onnx|hypothesis|openai|schemathesis)==/p' requirements.lock)
	.venv-server/bin/python -m pytest -p no:cacheprovider -m "not slow" --ignore tests/serving/test_page_browser.py tests/serving tests/test_boundaries.py

test-uv: $(BIN)/.installed ## `mlflow run --env-manager uv` builds its environment from conda.yaml
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/mlflow run . --env-manager uv -e check --experiment-name polystilts

test-page: $(BIN)/.installed ## the page in headless Chromium, which is installed where it may be
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || true
	@if command -v chromium >/dev/null; then \
	  OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p no:cacheprovider -m browser tests/serving/test_page_browser.py; \
	else echo "no chromium here, and none could be installed: THE PAGE WAS NOT TESTED"; [ -n "$$CI" ]; fi

test-real: $(BIN)/.installed ## reads real benchmark files (POLYSTILTS_REAL_DATA or ../shared/data/xtreme)
	$(BIN)/python -m pytest -p no:cacheprovider tests/data/test_real_data.py

test-spark: $(BIN)/.installed ## a registered model as a Spark UDF (needs Java; installs pyspark)
	$(BIN)/pip install --quiet --disable-pip-version-check pyspark==4.3.0
	$(BIN)/python -m pytest -p no:cacheprovider -m spark tests/tracking/test_pyfunc.py

test-image: $(BIN)/.installed ## the steps of deploy/Dockerfile without an engine: a fresh folder, read-only (needs root)
	$(BIN)/python -m deploy.try_image

test-rolling: $(BIN)/.installed ## two replicas behind nginx, restarted in turn under load (needs nginx)
	$(BIN)/python -m pytest -s -p no:cacheprovider deploy/test_rolling.py

soak: $(BIN)/.installed ## 200,000 requests to one server, and its memory
	$(BIN)/python -m benchmarks.soak

bench-serving: $(BIN)/.installed ## every figure of the server, about half an hour; wants the machine to itself
	$(BIN)/python -m benchmarks.serving

fuzz: $(BIN)/.installed ## 5,000 requests out of the OpenAPI document to a real server
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.serving.fuzz --cases 5000

serve: $(BIN)/.installed ## the champions of the last job on http://127.0.0.1:3000
	$(BIN)/python -m pipelines.serve

ui: $(BIN)/.installed ## MLflow's pages on http://127.0.0.1:5000
	@case "$(MLFLOW_TRACKING_URI)" in \
	  http*) echo "the tracking server has its own pages: $(MLFLOW_TRACKING_URI)";; \
	  *) $(BIN)/mlflow ui --backend-store-uri "$(MLFLOW_TRACKING_URI)" --host 127.0.0.1 --port 5000;; \
	esac

screenshots: $(BIN)/.installed ## docs/page*.png, from the models of the last job (needs Chromium)
	$(BIN)/python -m tests.serving.screenshots

bench: $(BIN)/.installed ## benchmarks; each prints a table and writes benchmarks/results/NAME.json
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.micro_world

coverage: $(BIN)/.installed ## how often the studies' 95 % intervals hold the truth, by simulation; about 90 minutes, WORLDS=400 for less
	$(BIN)/python -m benchmarks.coverage --worlds $(or $(WORLDS),4000)

protocol: $(BIN)/.installed ## writes docs/protocol.md from the catalogue
	$(BIN)/python -m pipelines.tasks --write-protocol

check-hub: $(BIN)/.installed ## compares every data set of the catalogue with the live hub (needs the network)
	$(BIN)/python -m pipelines.check_hub

micro-encoder: $(BIN)/.installed ## rebuilds the committed micro encoder from the lexicon
	$(BIN)/python -m pipelines.micro_encoder

lock: $(BIN)/.installed ## resolves pyproject.toml anew into requirements.lock
	{ sed -n '/^#/p' requirements.lock; $(BIN)/uv pip compile pyproject.toml --extra dev --python-version 3.11 \
	  --no-header --no-annotate --quiet | sed -E 's/^torch==([0-9.]+).*/torch==\1/'; } > requirements.lock.new
	mv requirements.lock.new requirements.lock

clean: ## removes outputs, runs and environments
	rm -rf outputs mlflow.db mlruns mlartifacts .venv .venv-server

# The two commands to know: `make serve` and `make test`. `make help` lists the rest.

# The first of these that runs. install.py refuses one that is too old or too new.
PYTHON ?= $(shell for one in python3.11 python3.12 python3.13 python3.14; do $$one -c '' 2>/dev/null && echo $$one && exit; done; echo python3)
# A Python that somebody named must be that of .venv, also where everything is installed.
ifneq ($(origin PYTHON),file)
NAMED := --this-python
ASKED := the-python-that-was-named
endif
PORT ?= 5000
UI_PORT ?= 5001
INVOCATIONS_PORT ?= 5002
DASHBOARD_PORT ?= 8501
CLIENTS ?= 50000
TRAINED ?= trained
API_URL ?= http://127.0.0.1:$(PORT)
# With what SQLAlchemy decodes in a path, as mlflow_model/registry/store.py writes it.
STORE ?= sqlite:///$(subst ?,%3F,$(subst %,%25,$(CURDIR)))/mlflow.db
# More than the cores: many tests wait for a process that they started.
TEST_PROCESSES ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))
NOTEBOOK_VERSION := 7.6.5
UV_VERSION := 0.13.9

BIN := .venv/bin
TESTS := $(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder
RUNTIME := .venv/.requirements-installed
DEVELOPMENT := .venv/.requirements-dev-installed
SPARK := .venv/.requirements-spark-installed

export PORT API_URL
# Where it is set, each of the hundreds of processes that the tests start would compile the project again.
unexport PYTHONDONTWRITEBYTECODE
# MLflow's own commands would report over the network how they are used.
export MLFLOW_DISABLE_TELEMETRY ?= true
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help serve test proofs endurance check register train ui invocations notebook dashboard bench lock
.PHONY: is-a-number is-a-port the-python-that-was-named

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: is-a-port $(RUNTIME) ## register the shipped model if there is no champion, then serve it on http://127.0.0.1:5000 (PORT=, WORKERS=)
	@$(BIN)/python register.py --unless-champion
	@exec $(BIN)/python api/app.py

test: $(DEVELOPMENT) ## run the tests, but for those of `make proofs` and `make endurance`
	$(TESTS) -m "not slow and not endurance"

proofs: $(DEVELOPMENT) $(SPARK) ## run the slow tests: whole trainings, faults, moves under load
	$(TESTS) -m "slow and not endurance"

endurance: $(DEVELOPMENT) $(SPARK) ## run what is too long for .ci/run: minutes of load, whole trainings, the largest numbers
	$(TESTS) -m endurance

check: $(DEVELOPMENT) ## lint, formatting, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports --no-cache

register: $(RUNTIME) ## make models/lgbm_final_model.pkl a version: the champion if there is none, else a candidate
	$(BIN)/python register.py

train: is-a-number $(RUNTIME) ## draw CLIENTS (50000) or read DATA_DIR, train, register the result as a candidate
	$(BIN)/python -m training $(if $(DATA_DIR),--data-dir "$(DATA_DIR)",--clients $(CLIENTS)) --out $(TRAINED)
	$(BIN)/python register.py --pickle $(TRAINED)/lgbm_final_model.pkl --alias candidate

is-a-port:
	@case "$(PORT)" in ''|*[!0-9]*) echo "PORT=$(PORT) is not a port: name a number from 1 to 65535" >&2; exit 2;; esac

is-a-number:
	@case "$(CLIENTS)" in ''|*[!0-9]*) echo "CLIENTS=$(CLIENTS) is not a number of clients" >&2; exit 2;; esac

ui: $(RUNTIME) ## MLflow's tracking UI on http://127.0.0.1:5001 (UI_PORT=)
	@$(BIN)/python -m mlflow_model.free_port UI_PORT $(UI_PORT)
	@echo "Starting MLflow's server (some seconds); the pages are named here when it answers" >&2
	@$(BIN)/python -m mlflow_model.registry.addresses http://127.0.0.1:$(UI_PORT) & store="$(or $(MLFLOW_TRACKING_URI),$(STORE))"; \
	  PYTHONWARNINGS=ignore MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
	  exec $(BIN)/mlflow ui --backend-store-uri "$$store" --registry-store-uri "$$store" --host 127.0.0.1 --port $(UI_PORT) --workers 1

invocations: $(RUNTIME) ## `mlflow models serve` of the champion on http://127.0.0.1:5002/invocations (INVOCATIONS_PORT=)
	@$(BIN)/python -m mlflow_model.free_port INVOCATIONS_PORT $(INVOCATIONS_PORT)
	@MLFLOW_TRACKING_URI="$(or $(MLFLOW_TRACKING_URI),$(STORE))" exec $(BIN)/mlflow models serve \
	  --model-uri models:/scoring-client@champion --env-manager local --host 127.0.0.1 --port $(INVOCATIONS_PORT)

notebook: $(RUNTIME) ## api/test_api.ipynb in Jupyter, which is installed first, asking API_URL
	@$(BIN)/python -c "import notebook" 2>/dev/null || echo "Installing Jupyter into .venv (a minute or two, once)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check notebook==$(NOTEBOOK_VERSION)
	@exec $(BIN)/jupyter notebook --ip 127.0.0.1 $(if $(filter 0,$(shell id -u)),--allow-root) api/test_api.ipynb

dashboard: $(RUNTIME) ## the loan officer's page on http://127.0.0.1:8501 (DASHBOARD_PORT=), asking API_URL (API_TOKEN=)
	@$(BIN)/python -m mlflow_model.free_port DASHBOARD_PORT $(DASHBOARD_PORT)
	@exec $(BIN)/streamlit run dashboard/app.py --server.address 127.0.0.1 --server.port $(DASHBOARD_PORT) \
	  --server.headless true --browser.gatherUsageStats false --client.toolbarMode minimal

bench: $(DEVELOPMENT) ## compare with others and write benchmarks/RESULTS.md (BENCH=server: that part alone)
	$(BIN)/python -m benchmarks $(BENCH) $(if $(EARLIER),--earlier "$(EARLIER)") $(if $(SHORT),--short) $(if $(NOTE),--note "$(NOTE)")

lock: $(RUNTIME) ## resolve requirements*.in again: hashed locks and conda.yaml
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header requirements.in -o requirements.txt
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header requirements-serve.in -o requirements-serve.txt \
	  --no-emit-package scipy --no-emit-package narwhals
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header requirements-dev.in -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header requirements-spark.in -o requirements-spark.txt
	{ printf '# Made by `make lock` from requirements.txt: the same pins, for MLproject.\nname: scoring-client\nchannels: [conda-forge]\ndependencies:\n  - python>=3.11,<3.15\n  - pip\n  - pip:\n'; \
	  sed -n -E 's/^([A-Za-z0-9._-]+(\[[a-z,]+\])?==[^ ;]+).*/      - \1/p' requirements.txt; } > conda.yaml

$(RUNTIME): requirements.txt $(ASKED)
	@$(PYTHON) install.py $< $(NAMED)

$(DEVELOPMENT): requirements-dev.txt $(RUNTIME)
	@$(PYTHON) install.py $< $(NAMED)

$(SPARK): requirements-spark.txt $(RUNTIME)
	@$(PYTHON) install.py $< $(NAMED)

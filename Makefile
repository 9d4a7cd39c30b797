# The commands of this repository. It needs make and Python >= 3.11; the rest goes into .venv. `make` lists the targets.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?= python3
PYTEST_ARGS ?=
BENCH_ARGS ?=
DEMO_ARGS ?=

# An independent reading of recorded traffic, and the traffic; neither is part of this repository.
SCORECARD ?= ../shared/scorecard/score.py
CORPUS ?= ../shared/corpus
SCORED ?= $(patsubst %.har.gz,%,$(notdir $(wildcard $(CORPUS)/*.har.gz)))
SCORE_ARGS ?= --worst 25
# Whose table of prices is shown for comparison; nothing of it is used.
COMPARED ?= litellm==1.110.2

recordings := $(SCORED:%=$(CORPUS)/%.har.gz)
planted := $(SCORED:%=.scorecard/har/%.har.gz)
hidden := $(SCORED:%=.stitching/har/%.har.gz)
compared_table = .accuracy/$(COMPARED)/litellm/model_prices_and_context_window_backup.json

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help demo test torture lint format typecheck scorecard stitching accuracy bench constraints clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(STAMP) ## See it work: calls captured from a built-in stand-in provider, their conversations and costs
	@$(BIN)/turnledger demo $(DEMO_ARGS)

test: $(STAMP) ## Run the tests in two processes (PYTEST_ARGS='-k name -x' goes to pytest; '-n 0 --pdb' debugs)
	@$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

torture: $(STAMP) ## Run the tests with ten times as many examples, new ones each time (PYTEST_ARGS as for test)
	@$(BIN)/python -m pytest -n 2 --hypothesis-profile torture $(PYTEST_ARGS)

lint: $(STAMP) ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(STAMP) ## Format the code and put right what ruff can
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

typecheck: $(STAMP) ## Check the types of the package, strictly
	@$(BIN)/pyright

scorecard: $(STAMP) ## Score the extraction on recorded traffic (SCORECARD=score.py CORPUS=folder SCORED='names of files')
	@for file in $(SCORECARD) $(or $(recordings),$(CORPUS)/*.har.gz); do \
		test -f "$$file" || { echo "make scorecard: no $$file; name the script and the folder of recordings:" \
			"make scorecard SCORECARD=score.py CORPUS=folder" >&2; exit 1; }; \
	done
	@rm -rf .scorecard
	@$(BIN)/python $(SCORECARD) canary $(recordings) --out .scorecard/har
	@$(BIN)/turnledger import har $(planted) --store .scorecard/store
	@$(BIN)/turnledger sql "select * from calls" --store .scorecard/store --format parquet --output .scorecard/calls.parquet
	@$(BIN)/python $(SCORECARD) score $(planted) --calls .scorecard/calls.parquet $(SCORE_ARGS)

stitching: $(STAMP) ## Measure how calls become conversations by their messages alone (CORPUS=folder SCORED='names of files')
	@for file in $(or $(recordings),$(CORPUS)/*.har.gz); do \
		test -f "$$file" || { echo "make stitching: no $$file; name the folder of recordings:" \
			"make stitching CORPUS=folder" >&2; exit 1; }; \
	done
	@rm -rf .stitching
	@$(BIN)/python tests/chains.py hide $(recordings) --out .stitching/har
	@$(BIN)/turnledger import har $(hidden) --store .stitching/store
	@$(BIN)/turnledger sql "select source, conversation_id from calls" --store .stitching/store --format parquet --output .stitching/calls.parquet
	@$(BIN)/python tests/chains.py score $(hidden) --calls .stitching/calls.parquet

accuracy: $(STAMP) ## Compare computed costs with the bills in recorded traffic (CORPUS=folder SCORED='names of files')
	@for file in $(or $(recordings),$(CORPUS)/*.har.gz); do \
		test -f "$$file" || { echo "make accuracy: no $$file; name the folder of recordings:" \
			"make accuracy CORPUS=folder" >&2; exit 1; }; \
	done
	@rm -rf .accuracy/store
	@mkdir -p .accuracy
	@$(BIN)/turnledger import har $(recordings) --store .accuracy/store --format csv > .accuracy/imported.csv
	@test -f $(compared_table) || if command -v uv >/dev/null 2>&1; then \
		uv pip install --quiet --no-deps --target .accuracy/$(COMPARED) $(COMPARED); \
	else \
		$(BIN)/python -m pip install --quiet --no-deps --target .accuracy/$(COMPARED) $(COMPARED); \
	fi
	@$(BIN)/python tests/accuracy.py .accuracy/store --table $(compared_table)

bench: $(STAMP) ## Measure what capture costs and how fast stores are costed (BENCH_ARGS='--only costing', --huge, --quick)
	@$(BIN)/python tests/bench/run.py $(BENCH_ARGS)

constraints: ## Resolve every dependency anew and pin it in constraints.txt
	@rm -rf build/constraints
	@$(find_python); $$python -m venv build/constraints
	@build/constraints/bin/python -m pip install --quiet -e '.[dev,notebooks]'
	@build/constraints/bin/python -m pip freeze --all --exclude-editable --exclude pip > constraints.txt
	@rm -rf build/constraints

clean: ## Remove everything made here, .venv too (a store is data: it stays)
	@rm -rf $(VENV) build dist *.egg-info .scorecard .stitching .accuracy .pytest_cache .ruff_cache .hypothesis bench.json
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Sets $python to the first interpreter that runs, is recent enough and can make an environment: a name on the PATH
# may be a version manager's shim with nothing behind it. uv makes environments without Python's own venv module.
define find_python
python=; found=; \
for name in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	found=$${found:-$$name}; \
	command -v uv >/dev/null 2>&1 || $$name -c 'import ensurepip, venv' >/dev/null 2>&1 || continue; \
	python=$$name; break; \
done; \
if [ -z "$$found" ]; then \
	echo "make: no Python 3.11 or later was found: install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
elif [ -z "$$python" ]; then \
	echo "make: $$found cannot make a virtual environment: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; \
fi
endef

$(STAMP): pyproject.toml constraints.txt
	@$(find_python); set -e; \
	echo "Installing into $(VENV) (again only when pyproject.toml or constraints.txt changes) ..."; \
	if command -v uv >/dev/null 2>&1; then \
		$(BIN)/python -c '' 2>/dev/null || uv venv --quiet --clear --python "$$python" $(VENV); \
		uv pip install --quiet --python $(BIN)/python -e '.[dev]' -c constraints.txt; \
	else \
		$(BIN)/python -m pip --version >/dev/null 2>&1 || "$$python" -m venv --clear $(VENV); \
		$(BIN)/python -m pip install --quiet -e '.[dev]' -c constraints.txt; \
	fi
	@touch $@

# Set-up is two commands: `make demo` and `make test`. Everything happens in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LIGHT := $(VENV)/.installed-light

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint docs bench web clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(LIGHT): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[demo]"
	@touch $@

$(STAMP): $(LIGHT)
	@# PyTorch alone first: pip keeps the downloads of a step until its end, and together they would need 11 GB.
	$(BIN)/python -m pip install --quiet --editable ".[torch]"
	$(BIN)/python -m pip install --quiet --editable ".[test,bench,dev,docs]"
	@# A peer of the tests, which skip without it. Alone, because its pins would replace torch.
	-$(BIN)/python -m pip install --quiet --no-deps audiocraft==1.3.0
	@touch $@

demo: $(LIGHT)  ## install without PyTorch, encode and decode a speech and a music clip at 6 kbps, show sizes and quality
	$(BIN)/python -m ecdc.bench.demo --output demo

test: $(STAMP)  ## run the default tests (under 10 minutes on 2 cores)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

test-slow: $(STAMP)  ## run the slow tests too
	$(BIN)/python -m pytest -m "slow or not slow"

lint: $(STAMP)  ## ruff, and mypy (strict in format/)
	$(BIN)/ruff check .
	@mkdir -p build/types && ln -sfn ../.. build/types/ecdc
	MYPYPATH=build/types $(BIN)/mypy --strict --follow-imports=silent -p ecdc.format
	MYPYPATH=build/types $(BIN)/mypy -p ecdc.codec -p ecdc.plugins -p ecdc.corpus -p ecdc.live -p ecdc.train -p ecdc.cli -p ecdc.bench

docs: $(STAMP)  ## build the documentation into build/site
	@mkdir -p build/api/ecdc && for f in __init__.py bench cli codec corpus format live plugins train; do ln -sfn ../../../$$f build/api/ecdc/$$f; done
	$(BIN)/python -m mkdocs build --strict --quiet

bench: $(STAMP)  ## measure speed and quality on the bundled clips
	$(BIN)/ecdc bench speed
	$(BIN)/ecdc bench --output runs/bench

web:  ## build the page that `ecdc serve` shows (needs Node 20 and npm; loads 300 MB of packages)
	cd web && npm ci --ignore-scripts --no-audit --no-fund && npm run build

clean:  ## remove the environment and everything that was built
	rm -rf $(VENV) build demo *.egg-info web/dist web/node_modules

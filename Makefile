# Two commands matter: `make run` and `make test`. Each sets up what it needs on a bare machine with Python 3.11+.

RUN := .venv/bin/python
DEV := .venv-dev/bin/python
# How many processes the tests run in; ARGS narrows or changes what pytest does: make test ARGS="-k sentinel -x"
JOBS ?= 2
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test check rehearsal lint types format figures lock clean run-environment dev-environment clients-environment

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r name what; do \
		printf '  make %-8s %s\n' "$$name" "$$what"; done

run: run-environment ## set up and start the gateway (on Claude with ANTHROPIC_API_KEY set, else on the simulator)
	@exec $(RUN) -m gateway serve $(ARGS)

test: check ## set up and pass every check: format, lint, types, import contract, tests

check: lint types clients-environment ## what CI runs, the same as `make test`
	@$(DEV) -m pytest --quiet -n $(JOBS) $(ARGS)

rehearsal: dev-environment ## money under fire: faults, kills and clients that leave, then the drift against the bill
	@$(DEV) -m tests.bench.rehearsal $(ARGS)

lint: dev-environment ## formatting and lint, changing nothing
	@$(DEV) -m ruff format --check --quiet . || { echo 'Run `make format`.' >&2; exit 1; }
	@$(DEV) -m ruff check --quiet .

types: dev-environment ## mypy --strict
	@$(DEV) -m mypy --no-error-summary

format: dev-environment ## format the code and mend what lint can mend
	@$(DEV) -m ruff format .
	@$(DEV) -m ruff check --fix .

figures: dev-environment ## print start time, memory of large bodies, stalls, throughput (ARGS="stall files" for some)
	@$(DEV) -m tests.bench.first_figures $(ARGS)

lock: dev-environment ## resolve pyproject.toml into the lock files (ARGS=--upgrade for the newest of everything)
	@$(DEV) scripts/lock.py $(ARGS)

clean: ## remove environments, caches and build products (state in .state/ stays)
	@rm -rf .venv .venv-dev .venv-clients .venv-sdk-suite dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
	@find gateway scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +

run-environment:
	@sh scripts/venv.sh .venv requirements.lock

dev-environment:
	@sh scripts/venv.sh .venv-dev requirements-dev.lock

clients-environment: dev-environment
	@sh tests/conformance/install.sh $(DEV) .venv-clients

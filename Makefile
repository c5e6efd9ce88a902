# `make demo` and `make test` are all a newcomer needs. Nothing is installed outside .venv.
PYTHON ?= python3
BIN    := .venv/bin

# A run starts a thousand Pythons: none compiles again what another has. (Images of containers often say
# that nothing compiled be kept.)
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo bytecode test test-system faults chaos check bench month growth growth-postgres soak fuzz coverage simulate schema clean

# Debian without python3-venv has no ensurepip, hence --without-pip and the outer pip; that one brings the newest,
# which needs 41 seconds in all where 23.2 needs 64.
# In CI what is imported is compiled by `make bytecode`, beside the check of types; the larger part never is.
.venv/done: pyproject.toml
	$(PYTHON) -m venv --clear --without-pip .venv
	$(PYTHON) -m pip --python $(BIN)/python install -q pip
	$(BIN)/python -m pip install -q $(if $(CI),--no-compile) -e '.[dev]'
	@touch $@

demo: .venv/done          ## a GP, a cardiologist, a pharmacist and a nurse, against a real server
	$(BIN)/miss demo

ifdef CI
test: coverage            ## in CI the same run is measured, so that nothing runs twice
else
test: .venv/done          ## every test that needs neither root nor npm
	$(BIN)/pytest -n auto
endif

# Most tests wait for processes and disks more than they reckon: two at a time for each core.
WORKERS ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

test-system: .venv/done   ## what needs root or Debian's tools: loop devices, namespaces, HAProxy, systemd
	PATH="$$PATH:/usr/sbin:/sbin" $(BIN)/pytest tests/system -n $(WORKERS) --dist worksteal

SEEDS ?= 1,2,3
faults: .venv/done        ## each fault under load in full, as root; writes the table of tests/README.md
	PATH="$$PATH:/usr/sbin:/sbin" $(BIN)/python -m tests.load --seeds $(SEEDS) --write

chaos: .venv/done         ## faults of several nodes on PostgreSQL and Redis, as root; writes their table
	MISS_RACES=1000 $(BIN)/pytest tests/server/storage/test_postgres_nodes.py
	PATH="$$PATH:/usr/sbin:/sbin" $(BIN)/python -m tests.chaos --seeds $(SEEDS) --write

bytecode: .venv/done      ## compiles what tests import, once, where each worker would do it for itself
	$(BIN)/pytest --collect-only -q tests tests/system

check: .venv/done         ## format, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/done         ## figures, into bench.json: ONLY=throughput, QUICK=1, WRITE=1 (tests/bench)
	$(BIN)/python -m tests.bench --only '$(ONLY)' $(if $(QUICK),--quick) $(if $(WRITE),--write)

month: .venv/done         ## a national record month on PostgreSQL, flat out; SHARE=0.02 for a part of it
	$(BIN)/python -m tests.bench.month --share $(or $(SHARE),1) $(if $(WRITE),--write)

growth: .venv/done        ## what a message costs when accounts, connections and mailboxes grow
	$(BIN)/python -m tests.bench.growth $(if $(QUICK),--quick) $(if $(WRITE),--write)

growth-postgres: .venv/done ## the same on PostgreSQL: accounts, workers and mailboxes
	$(BIN)/python -m tests.bench.growth_postgres $(if $(QUICK),--quick) $(if $(WRITE),--write)

soak: .venv/done          ## ten minutes with people coming and going
	$(BIN)/python -m tests.bench.soak $(if $(QUICK),--seconds 30) $(if $(WRITE),--write)

fuzz: .venv/done          ## the long fuzz of codecs and state machines (the short one is in `make test`)
	MISS_FUZZ=long $(BIN)/pytest tests/fuzz -n auto --timeout 3600

SECONDS ?= 600
ENGINE ?= sqlite
simulate: .venv/done      ## delivery in seeded worlds without time, for SECONDS; ENGINE=postgres compares
	$(BIN)/python -m tests.simulation.runner --seconds $(SECONDS) --processes 2 --engine $(ENGINE)

schema: .venv/done        ## writes what follows from the protocol's types: schemas, OpenAPI, codes
	$(BIN)/python protocol/generate.py

# These end processes at hundreds of points, race a thousand times, play whole days and worlds, fill machines and break the
# product. What they pass through the other suites pass through too; measured, they would take twice to three
# times as long. The single files cover next to nothing that others do not.
UNMEASURED := tests/crash tests/load tests/chaos tests/mutation tests/bench tests/scenarios \
  tests/simulation tests/fuzz \
  tests/server/storage/test_postgres_nodes.py tests/server/storage/test_same_histories.py \
  tests/clients/test_backups.py tests/clients/test_conversation.py tests/clients/test_encrypted_anew.py \
  tests/clients/test_examples.py tests/clients/test_hostile_server.py tests/clients/test_identity_provider.py \
  tests/contract/test_doorbell.py tests/contract/test_invitations.py tests/protocol/test_generated.py \
  tests/server/cli/test_commands.py tests/server/relay/test_litter.py \
  $(addprefix tests/server/http/test_,enrolment.py frames.py identity_ciba.py identity_userinfo.py login.py prekeys.py)

# In CI, as root, the tests of `make test-system` are played among these: one run less to start, and what
# waits for its disk or its cable leaves the core to the others.
ifdef WITH_SYSTEM
UNMEASURED := tests/system $(UNMEASURED)
endif

coverage: .venv/done      ## every test; branch coverage of most, child processes included
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(WORKERS) --dist worksteal $(UNMEASURED:%=--ignore=%)
	$(BIN)/coverage combine -q
	rm -f .coverage.*         # what a child that was killed in mid-write left
	$(BIN)/coverage report --include='protocol/*' --fail-under=100
	$(BIN)/coverage report --include='server/*,clients/*' --fail-under=90
	$(BIN)/pytest -n $(WORKERS) --dist worksteal $(UNMEASURED)

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage .coverage.* bench.json

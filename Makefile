# Sets up and calls; everything that these targets do can be typed without them (README.md).
SETUP := lab/setup.sh
# A process per processor (logical: of two threads of one core, too); more than a few only take longer to start.
PARALLEL := --numprocesses=logical --maxprocesses=8
UNIT := tests/unit tests/render tests/functional

.PHONY: help up down lab-start lab-env test test-unit test-fast test-cluster test-replace test-drift test-failures test-pair test-rebuild test-resume test-faults lint bench bench-drift build

help:
	@echo 'make up          the lab, the machines and the cluster: everything'
	@echo 'make down        remove every trace of it'
	@echo 'make lab-start   the lab without machines'
	@echo 'make -s lab-env  eval "$$(make -s lab-env)" gives a shell in which salt, kubectl, helm and curl work'
	@echo 'make test        all tests, the real cluster last'
	@echo 'make test-unit   unit, render and functional tests: the everyday loop'
	@echo 'make test-fast   these and the integration tests: everything but the real cluster'
	@echo 'make test-replace the control plane and a dead worker replaced while requests go on'
	@echo 'make test-failures all that can die, dies: what goes on meanwhile, how long until all is whole'
	@echo 'make test-pair   two load balancers that share an address, and five control-plane nodes; a cluster of its own'
	@echo 'make test-rebuild the cluster taken off its machines and made again; rebuilt with new machines'
	@echo 'make test-drift  everything changed by hand, foreseen and mended, on the real cluster'
	@echo 'make test-resume five faults in five stages of a bring-up'
	@echo 'make test-faults each fault at every stage of a bring-up: hours'
	@echo 'make lint        ruff, mypy, shellcheck, salt-lint'
	@echo 'make bench       the bring-up by hand and by the product, side by side'
	@echo 'make bench-drift the check that nothing has changed: on the lab, and on 4 to 32 simulated workers'
	@echo 'make build       fill the cache: artefacts, images, packages, template'

up:
	@$(SETUP) up

down:
	@$(SETUP) down

lab-start:
	@$(SETUP) start

lab-env:
	@$(SETUP) env

build:
	@$(SETUP) build

test: lint test-fast test-cluster

test-unit: build
	@$(SETUP) exec pytest $(PARALLEL) $(UNIT)

test-fast: build
	@$(SETUP) exec pytest $(PARALLEL) $(UNIT) tests/integration

# One lab: one after another.
test-cluster:
	@$(SETUP) exec pytest tests/cluster

test-replace:
	@$(SETUP) exec pytest -s tests/replace

test-failures:
	@$(SETUP) exec pytest -s tests/failures

test-pair:
	@$(SETUP) exec pytest -s tests/pair

test-rebuild:
	@$(SETUP) exec pytest -s tests/rebuild

test-drift:
	@$(SETUP) exec pytest -s tests/drift

test-resume:
	@$(SETUP) exec pytest -s tests/faults/test_sample.py

test-faults:
	@$(SETUP) exec pytest -s tests/faults/test_every_stage.py

lint:
	@$(SETUP) exec ruff check .
	@$(SETUP) exec ruff format --check lab
	@$(SETUP) exec mypy
	@git ls-files '*.sh' .ci/run | xargs shellcheck -x
	@git ls-files '*.sls' | xargs $(SETUP) exec salt-lint

bench:
	@$(SETUP) exec python -m tests.bench

bench-drift:
	@$(SETUP) exec python -m tests.bench.drift_check

# Two commands on a fresh machine: `make run` and `make test`. The rest is convenience.
PYTHON ?= python3
VENV ?= .venv
PROFILE ?= quick
REPORT ?= build/report

BIN := $(VENV)/bin
MODEL := smollm2-135m-instruct
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)
TORCH := $(shell sed -n 's/^torch==\([^ ;]*\).*/torch==\1/p' requirements.lock)
PIN := $(BIN)/uv pip compile --universal --python-version 3.11 --no-annotate --generate-hashes
SBOM := --pyproject pyproject.toml --output-reproducible --validate
ENVIRONMENTS := book olive vllm
LOCKS := requirements.lock requirements-test.lock $(ENVIRONMENTS:%=slmlab/environments/%.txt)

.PHONY: help run test test-browser setup-browser lab book bench test-pack \
	test-hub test-small-machines test-faults test-binder mutants fuzz lock sbom audit clean

help:
	@echo "make run      execute every lab and write $(REPORT)/index.html"
	@echo "make test     run the whole test suite"
	@echo "make setup-browser, make test-browser"
	@echo "              install Chromium; go through every lab in it as a learner would"
	@echo "make lab      open JupyterLab at the labs"
	@echo "make book     build the course as a site from executed labs, build/book/index.html"
	@echo "make bench    compare our measurements with llama.cpp's own tools, build/bench.md"
	@echo "make test-hub"
	@echo "              ten learners at a JupyterHub (as root, on Linux); mark a lab with nbgrader"
	@echo "make test-pack"
	@echo "              pack the course, and install and use it where there is no network"
	@echo "make test-small-machines"
	@echo "              run every lab with 2 GB and one CPU, as on Binder"
	@echo "make test-faults"
	@echo "              kill, fill disks, break networks; build/faults.md says what was lost"
	@echo "make test-binder"
	@echo "              build what Binder builds, and run labs 00 to 03 there without a network"
	@echo "make mutants  break ten functions, one at a time, and see that the tests notice"
	@echo "make fuzz SECONDS=3600"
	@echo "              look for inputs from outside that break a reader, for that long"
	@echo "make lock     pin the dependencies of pyproject.toml again"
	@echo "make sbom     list what the course installs, build/sbom*.json (CycloneDX)"
	@echo "make audit    look for the locked packages among known vulnerabilities"
	@echo "make clean    remove the environment and the report; the model cache stays"

run: $(VENV)/.learner
	$(BIN)/slmlab fetch $(MODEL)
	$(BIN)/slmlab run --profile $(PROFILE) --out $(REPORT)
	@echo "The report: $(REPORT)/index.html"
	@echo "To work through the labs yourself: make lab"

test: $(VENV)/.tester
	$(BIN)/pytest --durations=20
	$(BIN)/pytest --nbval-lax --nbval-cell-timeout=600 --ignore=labs/mine labs

# Where a Chromium, Chrome or Edge is installed already, that one is taken.
setup-browser: $(VENV)/.tester
	@$(BIN)/python -c 'from slmlab.deployment.browser import chromium; exit(chromium.why_not())' || \
		{ $(SUDO) apt-get update && $(SUDO) apt-get install --yes --no-install-recommends chromium; }
	$(BIN)/python tests/browser/axe.py

test-browser: setup-browser
	$(BIN)/pytest tests/browser --all-labs

lab: $(VENV)/.learner
	$(BIN)/jupyter lab --ServerApp.root_dir=labs

# With REPOSITORY=https://github.com/OWNER/slmlab, each lab has a button that opens it on Binder.
book: $(VENV)/.learner
	$(BIN)/slmlab book --report $(REPORT) --out build/book --repository "$(REPOSITORY)"

# Some parts alone, for instance: make bench BENCH="--only speed quantising --rounds 8"
bench: $(VENV)/.tester
	$(BIN)/python tests/bench.py $(BENCH)

HUB_LEARNERS ?= 10
HUB_LABS ?= 00 01 02 03
test-hub: $(VENV)/.tester
	HUB_LEARNERS=$(HUB_LEARNERS) HUB_LABS="$(HUB_LABS)" \
		$(BIN)/pytest tests/hub tests/hub/real_nbgrader.py

test-pack: $(VENV)/.tester
	$(BIN)/python tests/pack_offline.py

# In a pod as Binder gives it, 2 GB and one CPU, which takes cgroups: root, on Linux.
test-small-machines: $(VENV)/.tester
	ALL_LABS=1 $(BIN)/pytest tests/test_small_machines.py

# Full disks are small ones that are mounted for it, which takes root, on Linux.
FAULTS_SEED ?= 6
test-faults: $(VENV)/.tester
	FAULTS=all FAULTS_SEED=$(FAULTS_SEED) $(BIN)/pytest tests/faults

# What Binder does to build its image, llama.cpp compiled anew, and the first labs without a network.
test-binder: $(VENV)/.tester
	BINDER=1 $(BIN)/pytest tests/test_binder.py

mutants: $(VENV)/.tester
	$(BIN)/python tests/mutants.py

# Atheris has wheels for Linux alone, and not for every Python.
SECONDS ?= 3600
fuzz: $(VENV)/.tester
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group fuzz
	$(BIN)/python tests/fuzz/fuzzing.py $(SECONDS)

lock: $(VENV)/.tester
	$(PIN) pyproject.toml -o requirements.lock
	$(PIN) pyproject.toml --extra azure --extra hub --extra test -c requirements.lock \
		-o requirements-test.lock
	for name in $(ENVIRONMENTS); do \
		$(PIN) --group $$name -o slmlab/environments/$$name.txt || exit; \
	done
	$(BIN)/python tests/torch_hashes.py $(LOCKS)

# What each lock installs, as CycloneDX lists it; the program checks what it wrote by the schema.
sbom: $(VENV)/.tester
	mkdir -p build
	$(BIN)/cyclonedx-py requirements requirements.lock $(SBOM) -o build/sbom.json
	for lock in $(filter-out requirements.lock,$(LOCKS)); do \
		list=build/sbom-$$(basename $${lock%.*}).json; \
		$(BIN)/cyclonedx-py requirements $$lock $(SBOM) -o $$list || exit; \
	done

audit: $(VENV)/.tester
	$(BIN)/python tests/audit.py

clean:
	rm -rf $(VENV) build

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "slmlab needs Python 3.11 or newer; name one with: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# pip takes what has a hash in the lock, and nothing else. On Linux the package index carries PyTorch
# with several gigabytes of CUDA; the build for CPUs comes from PyTorch's own index. Where that cannot
# be reached, the lock installs what there is, and pip adds the libraries of CUDA at the end.
$(VENV)/.learner: $(VENV)/.python requirements.lock pyproject.toml
	@echo "Making the environment; compiling llama.cpp takes about five minutes, once."
	@sed -n '/^torch==/,/[^\\]$$/p' requirements.lock > $(VENV)/torch.txt
	-@[ "$$(uname)" != Linux ] || $(BIN)/pip install --quiet --no-deps --retries 0 \
		--index-url https://download.pytorch.org/whl/cpu --requirement $(VENV)/torch.txt
	$(BIN)/pip install --quiet --no-deps --requirement requirements.lock
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

$(VENV)/.tester: $(VENV)/.learner requirements-test.lock
	$(BIN)/pip install --quiet --no-deps --requirement requirements-test.lock
	touch $@

# Two commands on a fresh machine: `make run` and `make test`. The rest is convenience.
PYTHON ?= python3
VENV ?= .venv
PROFILE ?= quick
REPORT ?= build/report

BIN := $(VENV)/bin
MODEL := smollm2-135m-instruct
TORCH := $(shell sed -n 's/^torch==\([^ ;]*\).*/torch==\1/p' requirements.lock)

.PHONY: help run test lab bench mutants lock clean

help:
	@echo "make run      execute every lab and write $(REPORT)/index.html"
	@echo "make test     run the whole test suite"
	@echo "make lab      open JupyterLab at the labs"
	@echo "make bench    compare our measurements with llama.cpp's own tools"
	@echo "make mutants  break ten functions, one at a time, and see that the tests notice"
	@echo "make lock     pin the dependencies of pyproject.toml again"
	@echo "make clean    remove the environment and the report; the model cache stays"

run: $(VENV)/.learner
	$(BIN)/slmlab fetch $(MODEL)
	$(BIN)/slmlab run --profile $(PROFILE) --out $(REPORT)
	@echo "The report: $(REPORT)/index.html"
	@echo "To work through the labs yourself: make lab"

test: $(VENV)/.tester
	$(BIN)/pytest
	$(BIN)/pytest --nbval-lax --nbval-cell-timeout=600 labs

lab: $(VENV)/.learner
	$(BIN)/jupyter lab --ServerApp.root_dir=labs

bench: $(VENV)/.tester
	$(BIN)/python tests/bench.py

mutants: $(VENV)/.tester
	$(BIN)/python tests/mutants.py

lock: $(VENV)/.tester
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --no-annotate \
		-o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra azure --extra test --universal \
		--python-version 3.11 --no-annotate -c requirements.lock -o requirements-test.lock
	$(BIN)/uv pip compile --group olive --universal --python-version 3.11 --no-annotate \
		-o slmlab/environments/olive.txt
	$(BIN)/uv pip compile --group vllm --universal --python-version 3.11 --no-annotate \
		-o slmlab/environments/vllm.txt

clean:
	rm -rf $(VENV) build

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "slmlab needs Python 3.11 or newer; name one with: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# On Linux the package index carries PyTorch with several gigabytes of CUDA; the build for CPUs
# comes from PyTorch's own index. Where that cannot be reached, the lock installs what there is.
$(VENV)/.learner: $(VENV)/.python requirements.lock pyproject.toml
	@echo "Making the environment; compiling llama.cpp takes about five minutes, once."
	-@[ "$$(uname)" != Linux ] || $(BIN)/pip install --quiet --no-deps --retries 0 \
		--index-url https://download.pytorch.org/whl/cpu $(TORCH)
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

$(VENV)/.tester: $(VENV)/.learner requirements-test.lock
	$(BIN)/pip install --quiet --requirement requirements-test.lock
	touch $@

# Everything runs in .venv, made once and reused; `make clean` removes it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests start hundreds of processes; without this, each may have to compile every module anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo watch test check collect setup clean

demo: setup
	$(BIN)/taktline demo

# The demonstration on the dashboard, until Ctrl-C.
watch: setup
	$(BIN)/taktline demo --watch

# A thread for each worker, so that none spins while it waits for another's; two workers for each of two cores, since many
# tests wait for a socket or a clock. Those that measure time or memory come last, and have a core to themselves.
test: setup check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 4 --dist worksteal -m 'not serial'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m serial $$(grep -rl --include='*.py' 'mark[.]serial' tests)

check: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

# Every test file can be read. What pytest makes of them is kept, and its workers need not make it again.
collect: setup
	@said=$$($(BIN)/python -m pytest --collect-only -qq) || { echo "$$said"; exit 1; }

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Taktline needs Python 3.11 or later; call: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) build *.egg-info

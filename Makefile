# make demo   watch the whole thing work, on any machine (15 s)
# make test   build and run all tests
# make build  .venv with the package and everything needed to develop it
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.built
SOURCES := $(wildcard native/*.c native/*.h native/*/*.c native/*/*.h)

.PHONY: help demo test test-board deb test-deb bench instructions fuzz build lint format docs sanitize clean
help:
	@sed -n 's/^# make/make/p' Makefile

build: $(STAMP)

$(STAMP): pyproject.toml setup.py $(SOURCES)
	@test -x $(BIN)/python || { echo "make: creating $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@echo "make: installing npud with its development tools into $(VENV) (half a minute the first time)"
	@$(BIN)/python -m pip install --quiet --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --quiet --editable '.[dev]'
	@touch $@

demo: build
	@$(BIN)/python tools/demo.py

test: build
	@$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

# The kernels on an emulated aarch64 board (qemu-user; `python -m tests.board --help`).
test-board: build
	@$(BIN)/python -m tests.board

# Debian packages in dist/, with all wheels they need: `make deb ARCH=arm64` for one of the two.
ARCH ?= amd64 arm64
PYTHONS ?= 3.10 3.11
deb: build
	@$(BIN)/python -m tools.make_deb $(ARCH) --pythons $(PYTHONS)

# The package in a clean Debian under its own systemd, in namespaces (root; 15 min, 1 GB).
test-deb: build
	@$(BIN)/python -m tests.deploy

# npud beside what people use today; `make bench BENCH="--quick R"` for a part of it.
bench: $(VENV)/.bench
	@$(BIN)/python -m benchmarks.compare $(BENCH)
	@$(BIN)/python -m benchmarks.instructions

# Instructions per call, on x86-64 and aarch64, against the accepted ones.
instructions: build
	@$(BIN)/python -m benchmarks.instructions --check
	@$(BIN)/python -m benchmarks.letterbox --check

$(VENV)/.bench: $(STAMP)
	@$(BIN)/python -m pip install --quiet --quiet --editable '.[bench]'
	@touch $@

# Fuzzers of the post-processing, under ASan and UBSan (clang): `make fuzz SECONDS=600`.
SECONDS ?= 60
fuzz: build
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: build
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

# The pages that are printed from the code.
docs: build
	$(BIN)/python -m runtime.config > docs/config.md

# The native code under AddressSanitizer and UndefinedBehaviorSanitizer, in a copy of the tree.
sanitize: build
	@BIN=$(abspath $(BIN)) tools/sanitize.sh

clean:
	rm -rf .venv* build out *.egg-info postprocess/*.so runtime/*.so
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

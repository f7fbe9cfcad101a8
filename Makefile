# Works from a bare clone with Python (3.11 or newer) and make: everything goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo
DEMO_FLAGS ?=

.PHONY: demo compare test test-all test-torch soak lint check clean

demo: $(VENV)/.demo  ## train on ELPV, evaluate, print the table; about five minutes on two cores
	$(BIN)/python train.py --config=configs/hgad_elpv.py --workdir=$(DEMO) $(DEMO_FLAGS)
	$(BIN)/python eval.py --workdir=$(DEMO)

MAGNETIC_TILE ?=
MINUTES ?= 5

compare: $(VENV)/.demo  ## every detector, the same time for each; over an hour; docs/measurements.md
	$(BIN)/python benchmarks/compare.py --magnetic-tile="$(MAGNETIC_TILE)" --minutes=$(MINUTES) --out=runs/compare

# A file's tests on one worker, so that what they share is made once; in the order of tests/conftest.py.
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder

# Most of the time of small tests is the compiler's: here it optimises little; in test-all as users have it.
QUICK_COMPILER := --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false

test: $(VENV)/.test  ## everything that is not marked slow
	XLA_FLAGS="$(QUICK_COMPILER) $$XLA_FLAGS" $(BIN)/python -m pytest $(WORKERS) -m "not slow"

test-all: $(VENV)/.test  ## slow tests too
	$(BIN)/python -m pytest $(WORKERS)

test-torch: $(VENV)/.torch  ## what is compared with PyTorch, timm and anomalib, which it installs
	$(BIN)/python -m pytest $(WORKERS) -m "not slow" tests/benchmarks tests/parity

soak: $(VENV)/.test  ## kills training 50 times and compares; about twenty minutes
	$(BIN)/python tests/soak.py --kills=50 --terms=10 --damages=10

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

# -P: the package of the wheel, and not the one that lies in the current folder.
IMPORT := import sys; sys.path.insert(0, sys.argv[1]); import hgad_jax; assert sys.argv[1] in hgad_jax.__file__; \
  import importlib.resources; has = importlib.resources.files(hgad_jax).joinpath; \
  assert has('py.typed').is_file() and has('serving/page/index.html').is_file()

check: lint  ## what is quick to check: ruff, types, the links of the docs, a wheel that can be imported
	$(BIN)/basedpyright
	$(BIN)/python -m pytest -q tests/test_links.py
	rm -rf build/wheel && $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w build/wheel .
	$(BIN)/python -P -c "$(IMPORT)" build/wheel/*.whl

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is older: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[elpv]'
	touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[elpv,test]'
	touch $@

$(VENV)/.torch: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench,elpv,parity,test]'
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs build *.egg-info .pytest_cache .ruff_cache

# PYTHON is the interpreter the environments are made with. TORCH is the torch to install into them: another version or
# wheel, or `none` to use the one PYTHON already has.
PYTHON ?= python3
TORCH ?= torch==2.13.0
# What to rehearse: another preset or size, and where. REHEARSAL="--device cuda" is the real thing.
REHEARSAL ?= --scale 0.01
# Which organisms and seeds, where not all organisms from three: TRUTH_SEEDS="--only planner --seeds 7".
TRUTH_SEEDS ?=

ENV := .venv
OLD := .venv-old
RUN := $(ENV)/bin/python

.PHONY: help claims claims-gpu test test-old lint mutants truth truth-seeds rehearsal benchmarks clean

help:
	@echo "make claims      verify the claims on the bundled subjects; writes reports/"
	@echo "make claims-gpu  verify the claims on real models, with the packages that PYTHON has: its torch is the one with CUDA"
	@echo "make test        run the harness's own tests"
	@echo "make test-old    the same with the oldest supported transformers"
	@echo "make lint        ruff and mypy"
	@echo "make mutants     change the judge, the statistics and the audit in small ways, and see whether tests notice (15 minutes)"
	@echo "make truth       verify the claims, and compare with what must come out on subjects whose answer is known"
	@echo "make truth-seeds the same on organisms and ladders trained anew from three fresh seeds (hours)"
	@echo "make rehearsal   run the gpu tier on random checkpoints, scaled down; REHEARSAL=\"--device cuda\" for the real shapes"
	@echo "make benchmarks  measure speed and memory against plain code"

claims: $(ENV)/ready
	$(RUN) -m pytest claims -m "not gpu" -n 2

claims-gpu:
	$(PYTHON) -m pytest claims -m gpu

test: $(ENV)/ready
	$(RUN) -m pytest tests -n 2

test-old: $(OLD)/ready
	$(OLD)/bin/python -m pytest tests -n 2

lint: $(ENV)/ready
	$(ENV)/bin/ruff check .
	$(ENV)/bin/ruff format --check .
	$(ENV)/bin/mypy

mutants: $(ENV)/ready
	OMP_NUM_THREADS=1 $(ENV)/bin/mutmut run
	$(RUN) -m benchmarks.mutation_score

truth: $(ENV)/ready
	-$(RUN) -m pytest claims -m "not gpu" -n 2
	$(ENV)/bin/prolepsis truth reports/latest --whole

truth-seeds: $(ENV)/ready
	$(RUN) -m benchmarks.truth_seeds $(TRUTH_SEEDS)

rehearsal: $(ENV)/ready
	$(RUN) -m prolepsis.rehearsal $(REHEARSAL)

benchmarks: $(ENV)/ready
	$(RUN) benchmarks/bench_sweep.py
	$(RUN) benchmarks/bench_transcoder.py
	$(RUN) benchmarks/bench_scan.py
	$(RUN) benchmarks/bench_tracking.py

clean:
	rm -rf $(ENV) $(OLD) build mutants *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(ENV)/ready: constraints.txt pyproject.toml
$(OLD)/ready: constraints-old.txt pyproject.toml

# torch comes first and by name: asked for by another package, pip would choose a build with gigabytes of CUDA.
%/ready:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11; name another: make PYTHON=python3.11" >&2; exit 4; }
ifeq ($(TORCH),none)
	$(PYTHON) -m venv --system-site-packages $*
	@$*/bin/python -c 'import torch' || { rm -rf $*; echo "$(PYTHON) has no torch outside a virtual environment: leave TORCH out, or give TORCH=torch==VERSION" >&2; exit 4; }
else
	$(PYTHON) -m venv $*
	$*/bin/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
endif
	$*/bin/python -m pip install --quiet --disable-pip-version-check --constraint $< --editable ".[dev]"
	@touch $@

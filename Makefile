# `make demo` and `make test` need Python 3.11 (3.10 or later works) and nothing else; the first
# call makes .venv from the pinned requirements.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: demo test test-slow lint format bench bench-gpu study-demo clean

demo: $(VENV)/.ready
	$(RUN) demo.py

test: $(VENV)/.ready lint
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n 2 --dist worksteal

# Minutes to an hour: long fault-injection and fuzzing runs.
test-slow: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -m slow

lint: $(VENV)/.ready
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: $(VENV)/.ready
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

# Speed against plainly written baselines; minutes on a quiet machine.
bench: $(VENV)/.ready
	mkdir -p build/bench
	$(RUN) -m benchmarks.bench_preprocessing --out build/bench/preprocessing.json
	$(RUN) -m benchmarks.bench_models --device cpu --out build/bench/models-cpu.json
	$(RUN) -m benchmarks.bench_start --device cpu --out build/bench/start-cpu.json
	$(RUN) -m benchmarks.bench_epoch_end --device cpu --dir build/bench --out build/bench/epoch-end-cpu.json
	$(RUN) -m benchmarks.bench_bootstrap --out build/bench/bootstrap.json

# The figures of a machine with a GPU, in less than eight minutes, and what the whole study would take there.
bench-gpu: $(VENV)/.ready
	mkdir -p build/bench
	$(RUN) -m benchmarks.bench_models --device cuda:0 --what training final_layer evaluation --steps 50 --minutes 4 \
		--out build/bench/models-gpu.json
	$(RUN) -m benchmarks.bench_preprocessing --files 400 --rounds 1 --out build/bench/preprocessing-gpu.json
	$(RUN) -m benchmarks.bench_start --device cuda:0 --rounds 1 --out build/bench/start-gpu.json
	$(RUN) -m benchmarks.bench_epoch_end --device cuda:0 --dir build/bench --out build/bench/epoch-end-gpu.json
	$(RUN) -m benchmarks.projection build/bench/models-gpu.json build/bench/epoch-end-gpu.json

# The study on demo corpora: workflow, tables, figures and report (Python 3.11 or later).
study-demo: $(VENV)/.study
	$(RUN) -m snakemake -c2 --configfile study/demo.yaml

$(VENV)/.study: requirements-study.txt $(VENV)/.ready
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-study.txt
	touch $@

clean:
	rm -rf build .pytest_cache .ruff_cache

$(VENV)/.ready: requirements.txt requirements-dev.txt
	@echo "installing the pinned requirements into $(VENV) (about 5.4 GB, once)"
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

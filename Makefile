# `make demo` and `make test` need Python 3.11+ and make, and nothing else.
PYTHON ?= python3
BIN := .venv/bin
RUN := demo/nbody

.PHONY: demo test lint bench peers readme clean

demo: .venv/installed
	$(BIN)/geqlib fit --config configs/nbody_ponita.yaml --trainer.default_root_dir $(RUN)
	$(BIN)/geqlib test --config $(RUN)/config.yaml --ckpt_path $(RUN)/checkpoints/best.ckpt
	$(BIN)/geqlib predict --config $(RUN)/config.yaml --ckpt_path $(RUN)/checkpoints/best.ckpt
	$(BIN)/geqlib check $(RUN)/checkpoints/best.ckpt
	$(BIN)/geqlib report $(RUN) --out demo

test: .venv/installed
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# every number of the README; each script states its protocol and writes benchmarks/results
bench: .venv/installed
	for script in benchmarks/speed/*.py benchmarks/accuracy/*.py; do $(BIN)/python $$script || exit 1; done

# what some benchmarks compare with; MACE pins an old e3nn, so it gets an environment of its own
peers: .peers/mace/installed

.peers/mace/installed:
	$(PYTHON) -m venv .peers/mace
	.peers/mace/bin/pip install --quiet "mace-torch>=0.3.13"
	touch $@

# after `make demo`: what the README shows of it
readme: .venv/installed
	$(BIN)/python benchmarks/demo.py
	$(BIN)/python benchmarks/tables.py

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/pip install --quiet --editable . --group dev
	touch $@

clean:
	rm -rf demo runs .pytest_cache .ruff_cache

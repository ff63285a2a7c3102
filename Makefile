# Needs Python >= 3.10 and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
INSTALLED := $(VENV)/installed-$(shell cksum < pyproject.toml | cut -d' ' -f1)

.PHONY: demo test lint docs results coverage install clean

demo: install  ## make a corpus, train on it, and locate sentences in videos the model has never seen
	$(BIN)/python tools/make_corpus.py $(DEMO)/data --videos 150 --overwrite
	$(BIN)/mttsg train $(DEMO)/data --out $(DEMO)/model --overwrite --epochs 30 --cache $(DEMO)/cache
	$(BIN)/mttsg evaluate $(DEMO)/data --model $(DEMO)/model --cache $(DEMO)/cache
	head -n 6 $(DEMO)/data/test.jsonl | tee $(DEMO)/questions.jsonl
	$(BIN)/mttsg ground $(DEMO)/data --queries $(DEMO)/questions.jsonl --model $(DEMO)/model --cache $(DEMO)/cache

test: export OMP_NUM_THREADS = 1
test: install lint docs  ## all checks and tests, examples in docstrings included
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

coverage: install  ## the tests once more, with a report of what they reach
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install  ## the documentation, into build/site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

results: install  ## the tables of README.md and docs/results.md; DATA is where their commands run
	$(BIN)/python tools/results_tables.py --data $(DATA)

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "mttsg needs Python 3.10 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	rm -f $(VENV)/installed-*
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) build

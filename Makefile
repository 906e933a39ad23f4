# Both commands set up what they need in .venv, and can be repeated at will.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo lab test notebooks bench clean

demo: $(VENV)/.installed
	$(BIN)/python -m emokit demo

lab: $(VENV)/.installed
	$(BIN)/jupyter lab --notebook-dir=. notebooks/01_first_look.ipynb

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not browser"
	$(BIN)/python -m pytest -m browser

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/faces.py
	$(BIN)/python benchmarks/pyfeat.py

$(VENV)/.installed: pyproject.toml constraints.txt tools/make_venv.sh
	sh tools/make_venv.sh "$(PYTHON)" "$(VENV)" .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt tools/make_venv.sh
	sh tools/make_venv.sh "$(PYTHON)" "$(VENV)" ".[dev]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) demo

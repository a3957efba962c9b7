# Every target makes or completes .venv first (kit/lab.py, standard library only) and then does its work in it.
PYTHON ?= python3

LAB = $(PYTHON) -m kit.lab
OPTIONS = $(if $(filter no,$(SCATTER)),--no-scatter)
LAB_OPTIONS = $(if $(filter no,$(BROWSER)),--no-browser) $(if $(PORT),--port $(PORT))

.PHONY: help lab scatter test image bench lint clean python

help:
	@echo "make lab     make .venv where it is missing, then open JupyterLab on notebooks/00_start_here.ipynb"
	@echo "             BROWSER=no: print the address, open no browser. PORT=9999. SCATTER=no: without torch-scatter."
	@echo "make scatter the same environment, with torch-scatter compiled where the kit's own stands in for it"
	@echo "make test    the same and a Chromium, then everything: pytest, a real JupyterLab, nbval, papermill"
	@echo "make image   build the images that kit recipe writes; needs root, buildah and debootstrap, and ten minutes"
	@echo "make bench   run the benchmarks in tests/"
	@echo "make lint    ruff and mypy"
	@echo "make clean   remove .venv (compiled wheels stay in the user's cache)"
	@echo "             PYTHON=python3.12: the Python that .venv is made with, 3.10 or newer"

lab: python
	@$(LAB) lab $(LAB_OPTIONS) $(OPTIONS)

scatter: python
	@$(LAB) scatter

test: python
	@$(LAB) test $(OPTIONS)

image: python
	@$(LAB) image $(OPTIONS)

bench: python
	@$(LAB) bench $(OPTIONS)

lint: python
	@$(LAB) lint $(OPTIONS)

clean:
	rm -rf .venv

python:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "$(PYTHON) was not found: install Python 3.10 or newer, or name one: make lab PYTHON=/path/to/python3" >&2; \
	  exit 2; }

# Needs python3 (3.11 or newer) with its venv module, and make. Everything else goes into .venv.
PYTHON ?= python3
TORCH_INDEX ?=
SOLUTIONS ?= 1
LAB ?= .venv/bin/jupyter lab --LabApp.default_url=/lab/tree/work
READY = .venv/ready

.PHONY: help book test unit lab write browser kill-table clean
.DEFAULT_GOAL := help

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-17s %s\n", $$1, $$2}'
	@echo "  SOLUTIONS=0 after book leaves the solutions out."
	@echo "  TORCH_INDEX=URL after book, test or lab takes torch from that index (CPU-only wheels)."

book: $(READY) ## execute the labs, build the book: _build/html/index.html
	@echo "Building the book. Labs run only where they, lthkit or the pins changed."
	@LTHKIT_SOLUTIONS=$(SOLUTIONS) .venv/bin/jupyter-book build . -W -n --keep-going
	@echo "The book is in _build/html/index.html"

test: unit ## unit tests, every cell of every lab, the exercises
	@echo "Running every cell of every lab."
	@.venv/bin/pytest -q --nbval-lax --nbval-current-env --nbval-cell-timeout=600 notebooks
	@echo "Running every lab with other parameters, and what else runs labs."
	@.venv/bin/pytest -q -m labs tests/book tests/replications tests/experiments
	@echo "Checking the exercises: wrong and right answers, mutants, every lab with its solutions filled in."
	@.venv/bin/pytest -q -n 2 tests/exercises

unit: $(READY) ## unit tests only
	@echo "Running the unit tests."
	@.venv/bin/ruff check .
	@.venv/bin/pytest -q -n 2 --dist loadfile -m "not browser and not labs" --ignore tests/exercises tests

lab: $(READY) ## open JupyterLab on your own copies of the labs, in work/
	@mkdir -p work
	@for lab in notebooks/*.ipynb; do copy=work/$${lab##*/}; \
	  if [ -e "$$copy" ]; then echo "kept   $$copy"; else cp "$$lab" "$$copy"; echo "copied $$copy"; fi; done
	@$(LAB)

write: $(READY) ## write what labs and pages repeat: version, address, headings, goals, faulty functions
	@PYTHONPATH=book/_ext .venv/bin/python -m lthbook.repeats

browser: $(READY) ## look at every built page with chromium
	@.venv/bin/pytest -q -m browser tests/browser

kill-table: $(READY) ## how many mutants of the reference solutions the checks kill
	@echo "Mutating the reference solutions. This takes minutes."
	@.venv/bin/python tests/exercises/kill_table.py

clean: ## remove the built book and the execution cache
	rm -rf _build

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Needs Python 3.11 or newer with its venv module, and $(PYTHON) is not that: install both, or name another with PYTHON=..." >&2; exit 1; }
	@echo "Setting up .venv. The first time, this downloads some 3 GB and takes minutes."
	@test -x .venv/bin/pip || $(PYTHON) -m venv .venv
ifneq ($(TORCH_INDEX),)
	@grep -E '^torch(vision)?==' requirements.txt | xargs .venv/bin/pip install -q --no-deps --index-url $(TORCH_INDEX)
endif
	@.venv/bin/pip install -q -r requirements.txt
	@.venv/bin/pip install -q --no-deps -e .
	@touch $@

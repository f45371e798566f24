# make book | reproduce | test | check | notebooks | bench | clean, and for maintainers: picture, constraints, vendor.  README.md tells how to do without make.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
            $$p -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN = $(VENV)/bin
JOBS ?= 3

.PHONY: help book reproduce test check notebooks picture bench constraints vendor clean
help:
	@echo "make book         build the book into _build/html; executes start_here and the notebooks that changed"
	@echo "make reproduce    the same, but execute every notebook on this machine"
	@echo "make test         lint, types, unit tests, notebooks at smoke scale, book and browser tests"
	@echo "make check        lint and types only"
	@echo "make notebooks    execute, then write the outputs back to notebooks/ and the metrics to book/results/"
	@echo "make picture      take the README's picture from the built book (needs Chromium)"
	@echo "make bench        race kdlib against the implementations people use (minutes)"
	@echo "make constraints  pin the whole environment anew in constraints.txt"
	@echo "make vendor       fetch the book's JavaScript anew (needs npm)"
	@echo "make clean        remove everything that was built, but no trained model and no environment"

# A stamp is written last, so an interrupted installation is taken up again.
$(VENV)/.book: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 with venv was found; name one: make PYTHON=/path/to/python3.12"; exit 2; }
	@test -x $(BIN)/python || echo "Creating $(VENV) with $(PYTHON)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing the book's environment into $(VENV) (about 1 GB the first time)"
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[book]'
	@touch $@

$(VENV)/.test: $(VENV)/.book
	@echo "Installing what the tests need"
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[book,test]'
	@touch $@

book: $(VENV)/.book
	@$(BIN)/kdlib book

reproduce: $(VENV)/.book
	@$(BIN)/kdlib book --execute all

check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# One thread each: the workers share the cores. A conftest.py holds no examples, and several of them cannot be collected.
test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

notebooks: $(VENV)/.book
	@$(BIN)/kdlib book --commit-outputs

picture: $(VENV)/.test
	@$(BIN)/python book/picture.py

bench: $(VENV)/.book
	@$(BIN)/python -m benchmarks

constraints:
	@rm -rf _build/constraints && $(PYTHON) -m venv _build/constraints
	@# soupsieve 3 asks for Python 3.11.5, which Debian 12 (3.11.2) does not have.
	@_build/constraints/bin/python -m pip install -q -e '.[book,test]' 'soupsieve<3'
	@{ echo "# The book's whole environment, made by \`make constraints\`; used by make, CI and environment.yml."; \
	   _build/constraints/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' | grep -v '^nvidia-\|^cuda-\|^triton=='; } > constraints.txt
	@rm -rf _build/constraints && echo "constraints.txt: $$(grep -c == constraints.txt) pins"

vendor: $(VENV)/.book
	$(BIN)/python book/vendor.py

clean:
	rm -rf _build book/executed out .pytest_cache .ruff_cache .mypy_cache .import_linter_cache

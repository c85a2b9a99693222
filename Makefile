# `make` lists the verbs. They need git, make and Python 3.11 or newer, and install everything else in .venv.

PYTHON ?= python3
CHROMIUM ?= chromium
UV_VERSION := 0.13.8
# The hash of data/ as `leyden sample` writes it; while data.dvc holds it, `make data` writes the sample.
SAMPLE := d6139d383f1f72c781e5465b0bc900d8.dir

VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
unexport PYTHONDONTWRITEBYTECODE
# The pins' hashes are those of the default torch build; other builds (UV_TORCH_BACKEND=cpu) keep the versions only.
PINS := $(if $(UV_TORCH_BACKEND),--no-verify-hashes --constraints requirements.txt --all-extras -r pyproject.toml,--require-hashes -r requirements.txt)
ENV := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help env data repro test test-all check lint bench picture pins clean git-repository

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

repro: git-repository $(ENV) data ## Run the pipeline to artifacts/report/index.html; unchanged stages are skipped
	@# A DVC that was killed while writing may leave these files empty or truncated, and then refuses to start.
	@find dvc.lock -empty -delete 2> /dev/null; python -m json.tool .dvc/tmp/rwlock > /dev/null 2>&1 || rm -f .dvc/tmp/rwlock
	@# With a remote, outputs that a colleague has pushed are downloaded instead of computed again.
	@pull=$$(dvc remote list | sed -n '1s/.*/--pull/p'); dvc repro $$pull \
		|| { dvc status 2>&1 | grep -q "dvc.lock' .*\(invalid\|failed\)" && rm dvc.lock && dvc repro $$pull; }
	@echo "The report: artifacts/report/index.html"

test: $(ENV) ## Run the tests
	@python -m pytest

test-all: $(ENV) ## Run the tests, including the slow ones
	@python -m pytest -m "slow or not slow"

check: $(ENV) ## Format, lint, check types, test
	@nbstripout notebooks/*.ipynb
	@ruff format && ruff check --fix && mypy && python -m pytest

lint: $(ENV) ## Check format, lint and types; change nothing
	@ruff format --check && ruff check && mypy

bench: $(ENV) data ## Measure everything, or ONLY=help,noop; write benchmarks/results.json
	@python benchmarks/run.py $(ONLY)

picture: $(ENV) ## Screenshot the report page to docs/report.png (needs Chromium)
	@command -v $(CHROMIUM) > /dev/null || { echo "make: expected Chromium to take the picture; $(CHROMIUM) not found on the PATH;" \
		"install it (apt-get install chromium), or name it with make picture CHROMIUM=..." >&2; exit 2; }
	@$(MAKE) --no-print-directory repro
	@$(CHROMIUM) --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1280,800 \
		--screenshot=docs/report.png "file://$(CURDIR)/artifacts/report/index.html" > /dev/null 2>&1
	@python -c 'from PIL import Image; page = Image.open("docs/report.png").convert("RGB"); page.quantize(128).save("docs/report.png", optimize=True)'

env: $(ENV) ## Create the environment in .venv

pins: $(ENV) ## Update requirements.txt from pyproject.toml
	@uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --output-file requirements.txt pyproject.toml

clean: ## Remove artifacts/ and runs/; data/, .venv and DVC's cache stay
	@rm -rf artifacts runs

$(ENV): requirements.txt pyproject.toml
	@test ! -L $(VENV) || { echo "make: expected $(VENV) to be a folder of this project, to install its packages into;" \
		"got a link to $$(readlink $(VENV)); remove the link" >&2; exit 2; }
	@test -x $(VENV)/bin/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: expected Python 3.11 or newer; got $$($(PYTHON) --version 2>&1); name another with make PYTHON=..." >&2; exit 2; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@command -v uv > /dev/null || $(VENV)/bin/python -m pip install --quiet uv==$(UV_VERSION)
	uv pip install --quiet --python $(VENV)/bin/python --compile-bytecode $(PINS)
	uv pip install --quiet --python $(VENV)/bin/python --compile-bytecode --no-deps --editable .
	@touch $@

git-repository:
	@test -e .git || { echo "make: expected a git repository, on which DVC relies; got a folder without .git;" \
		"run 'git init && git add . && git commit -m \"Start from Leyden\"'" >&2; exit 2; }

# The sample is committed to DVC's cache: `dvc repro --pull` would look for it on the remote.
data: $(ENV)
	@test -e data || if grep -q $(SAMPLE) data.dvc; then leyden sample && dvc commit --quiet --force data.dvc; \
	elif dvc remote list | grep -q .; then dvc pull data; \
	else echo "make: expected data/; not found, and no DVC remote is set to pull it from;" \
		"put your images in data/ and run 'dvc add data', or name the remote with 'dvc remote add -d NAME URL'" >&2; exit 2; fi

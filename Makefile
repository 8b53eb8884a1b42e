# `make demo` and `make test` need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV := .venv
# Quoted where they stand in a command: a checkout may lie below "My Drive".
HERE := "$(CURDIR)"
BIN := $(HERE)/$(VENV)/bin
DEMO := results/demo
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
QUICK := tests/data tests/metrics tests/splits tests/plan tests/model tests/readers tests/tools \
  tests/eeg/test_filtering.py tests/eeg/test_segments.py::test_segments_are_the_golden_ones \
  tests/training/test_fold_data.py tests/test_config.py tests/test_docs.py \
  tests/test_fingerprints.py tests/test_options.py tests/test_packaging.py \
  tests/workflow/test_tiny.py

# As `python -P`: no module is imported from the working directory.
demo teeth lint docs: export PYTHONSAFEPATH := 1

.PHONY: env demo quick mediapipe test test-long teeth lint docs site lock wheel release-check clean

env: $(VENV)/.ready

$(VENV)/.ready: requirements.lock requirements-torch.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements-torch.txt
	$(PIP) --no-deps --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

# The whole pipeline on the synthetic twin; a second time it finds nothing to do.
demo: env $(DEMO)/config.yaml
	@cd $(DEMO) && $(BIN)/milmer run --cores all

$(DEMO)/config.yaml: | env
	@$(BIN)/milmer init --demo $(DEMO)

# Whether the code holds, in two minutes on two cores: units, golden values, one tiny pipeline.
quick: env
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow" $(QUICK)

# The published face detector for real, where its package installs. Without its dependencies: one of
# them is an OpenCV that would take the place of the pinned one.
MEDIAPIPE := $(VENV)/face_detection_short_range.tflite
mediapipe: env
	@if $(PIP) --no-deps --only-binary=:all: mediapipe absl-py flatbuffers; then \
	  $(BIN)/python -c 'import pathlib, sys, milmer.faces.published_detector as published; \
	    published.fetch_detector(pathlib.Path(sys.argv[1]))' $(MEDIAPIPE) && \
	  MILMER_MEDIAPIPE_MODEL=$(CURDIR)/$(MEDIAPIPE) $(BIN)/pytest -rs tests/faces/test_mediapipe.py; \
	else echo "skipped: mediapipe does not install here"; fi

test: env
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder -m "not long"

# What takes many minutes: a run is killed again and again.
test-long: env
	$(BIN)/pytest -n auto -m long

# Which small faults the tests beside a module let live: MODULE="milmer/storage.py" SHARE=1 SEED=0.
SHARE ?= 0.2
SEED ?= 0
teeth: env
	$(BIN)/python tools/teeth.py $(MODULE) --share $(SHARE) --seed $(SEED)

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/snakemake --lint --directory $(VENV)/lint --config dataset='{root: "'$(HERE)'/tests/data/layout"}'

# What is generated from the code: config.yaml, the schema, the pages on options and commands.
docs: env
	$(BIN)/milmer config config.yaml > config.yaml.new && mv config.yaml.new config.yaml
	$(BIN)/milmer config --schema > workflow/schemas/config.schema.json
	$(BIN)/milmer config --reference > docs/options.md
	$(BIN)/python tools/make_commands.py > docs/commands.md
	$(BIN)/python tools/make_third_party.py > THIRD_PARTY.md

# The documentation as a website, below site/: fails at a warning, such as a link that leads nowhere.
site: $(VENV)/site/.ready
	NO_MKDOCS_2_WARNING=1 $(HERE)/$(VENV)/site/bin/mkdocs build --strict --quiet

$(VENV)/site/.ready: requirements-site.txt
	$(PYTHON) -m venv $(VENV)/site
	$(HERE)/$(VENV)/site/bin/pip install --quiet --disable-pip-version-check -r requirements-site.txt
	touch $@

# The hashes of the versions that requirements.lock names.
lock: env
	$(PIP) uv
	sed -n 's/^\([A-Za-z0-9._-]*==[^ ]*\).*/\1/p' requirements.lock > $(VENV)/versions.txt
	$(BIN)/uv pip compile --quiet --no-deps --generate-hashes --no-annotate --python-version 3.11 \
	  --custom-compile-command "make lock" $(VENV)/versions.txt --output-file requirements.lock

# The package with the workflow, to install elsewhere.
wheel: env
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

# What has to hold before a version is tagged: the quick tests, the site, and what the tool checks.
release-check: env quick site
	$(BIN)/python tools/release_check.py

clean:
	rm -rf $(DEMO)

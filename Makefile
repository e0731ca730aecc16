# `make app` serves the app, `make test` runs every test, `make docs` writes what docs/ takes from the code; each sets up what it
# needs on a fresh machine.
#   make app PORT=7861 CHECKPOINTS=runs DATASET=photos

PYTHON ?= python3
PORT ?= 7860
VENV := .venv
PY := $(VENV)/bin/python
export CHECKPOINTS DATASET

.PHONY: app test lint docs browser clean

app: $(VENV)/.app
	@exec $(PY) app.py --port "$(PORT)" $${CHECKPOINTS:+--checkpoints "$$CHECKPOINTS"} $${DATASET:+--dataset "$$DATASET"}

# Two at a time, each with files of its own: journeys wait for a page, and a file's tests share its server. More want 2 GB each.
test: $(VENV)/.test lint browser
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "browser or not browser"

lint: $(VENV)/.test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

# What docs/ takes from the code and the shipped runs, written again; fails where it was not up to date.
docs: $(VENV)/.app
	$(PY) docs/make.py

# A .venv may be a link, also to one that is not ours to write to. A half-made one is never left: Ctrl-C waits for it.
$(VENV)/.app: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "xmr needs Python 3.10 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@if [ -L $(VENV) ] && [ ! -e $(VENV) ]; then \
		echo "$(VENV) is a link to $$(readlink $(VENV)), which is not there: make it, or remove the link"; exit 1; fi
	@if [ ! -x $(PY) ]; then echo "Making $(VENV) …"; trap '' INT; $(PYTHON) -m venv $(VENV); fi
	@echo "Installing what the app needs into $(VENV): some minutes the first time (PyTorch is large) …"
	@$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $@ 2>/dev/null || true

$(VENV)/.test: requirements-dev.txt $(VENV)/.app
	@echo "Installing what the tests need into $(VENV) …"
	@$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@touch $@ 2>/dev/null || true

# The journeys run in Debian's chromium. CHROMIUM names another one.
browser:
	@if [ -n "$$CHROMIUM" ] || command -v chromium >/dev/null; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
		echo "The browser tests need chromium: install it, or name one: CHROMIUM=/path/to/chromium make test"; exit 1; fi; \
	if [ "$$(id -u)" = 0 ]; then sudo=; elif sudo -n true 2>/dev/null; then sudo="sudo -n"; else \
		echo "The browser tests need chromium, which you may not install: ask for 'apt-get install chromium'," \
			"or name one: CHROMIUM=/path/to/chromium make test"; exit 1; fi; \
	$$sudo apt-get update -q && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -q chromium

clean:
	rm -rf $(VENV)

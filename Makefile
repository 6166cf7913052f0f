# The whole of dynoctl for a newcomer: `make demo` and `make test`. Each sets up what it needs, as root on Debian.

SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
DYNOCTL := $(VENV)/bin/dynoctl
# Tests wait more than they compute, so two labs side by side take little more than half the time.
LABS ?= 2
# Where Python may keep nothing that it has compiled, every start of dynoctl compiles it all anew: a third of a second.
export PYTHONDONTWRITEBYTECODE :=
PACKAGES := git python3 python3-venv mmdebstrap systemd-container squashfs-tools iproute2 openssh-client util-linux mount \
	ruby bundler thin puma unicorn ruby-sinatra ruby-rack ruby-redis ruby-pg ruby-dalli

.PHONY: demo test unit coverage agreement lab-test lint docs wheel bench soak clean system

$(VENV)/.done: pyproject.toml
	@command -v python3 >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null || $(MAKE) --no-print-directory system
	python3 -m venv $(VENV)
	@# --group came with pip 25.1; a venv brings the pip of its Python.
	$(PY) -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(PY) -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

system:
	@.ci/packages $(PACKAGES)

demo: system $(VENV)/.done  ## Boot three servers, plan, apply, and ask the app on every dyno
	@.ci/demo $(DYNOCTL)

test: system $(VENV)/.done lint docs wheel  ## Lint, types, the docs, unit tests, the wheel, and every test on real servers
	@.ci/packages chromium curl
	$(PY) -m pytest -q -n $(LABS) --dist worksteal tests/unit tests/golden tests/agreement tests/lab

unit: $(VENV)/.done  ## The tests that run anywhere, in seconds
	$(PY) -m pytest -q tests/unit tests/golden

coverage: $(VENV)/.done  ## What these tests reach, branches included: the rooms that decide, and the whole against its floor
	@rm -f .coverage .coverage.*
	$(PY) -m coverage run -m pytest -q tests/unit tests/golden
	@$(PY) -m coverage combine -q
	@$(PY) -m coverage report --include='infra/engine/*,infra/plan/*,infra/state/*' --fail-under=0
	@printf 'All of it, by unit and golden tests alone, in %%: '; $(PY) -m coverage report --format=total

agreement: $(VENV)/.done  ## Ours against the world's own tools: generated cases, also asked of git and of systemd
	@.ci/packages git systemd
	$(PY) -m pytest -q tests/agreement

lint: $(VENV)/.done
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(VENV)/.docs: $(VENV)/.done
	$(PY) -m pip install --quiet --disable-pip-version-check --group docs
	@touch $@

docs: $(VENV)/.docs  ## Build the site into build/docs; a warning or a dead link fails
	$(VENV)/bin/sphinx-build -q -W --keep-going -n -j auto docs build/docs
	@echo "The site is in build/docs/index.html."

wheel: $(VENV)/.done  ## Build the wheel and run it from an environment of its own
	@.ci/wheel $(PY)

bench: system $(VENV)/.done  ## Print the measured numbers, with ratios against a peer in the same run
	@.ci/packages wrk
	@$(PY) -m tests.bench

soak: system $(VENV)/.done  ## The long sweeps
	@.ci/packages chromium curl
	$(PY) -m pytest -q -n $(LABS) --dist worksteal tests/lab --soak

clean:  ## Take down every lab and remove what was built here
	-@[ ! -x $(DYNOCTL) ] || $(DYNOCTL) lab down --all
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*

# Start with `make demo` or `make test`. Each installs what it needs, as root on Debian.

SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
DYNOCTL := $(VENV)/bin/dynoctl
# Tests wait more than they compute, so several labs run in parallel, also on two cores.
LABS ?= 3
# Without cached bytecode, every start of dynoctl compiles all modules, which takes 0.3 s.
export PYTHONDONTWRITEBYTECODE :=
PACKAGES := git python3 python3-venv mmdebstrap systemd-container squashfs-tools iproute2 openssh-client util-linux mount \
	ruby bundler thin puma unicorn ruby-sinatra ruby-rack ruby-redis ruby-pg ruby-dalli

.PHONY: demo test unit coverage agreement lint docs roots wheel vm-test bench bench-fleet soak clean system

$(VENV)/.done: pyproject.toml
	@command -v python3 >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null || $(MAKE) --no-print-directory system
	python3 -m venv $(VENV)
	@# --group requires pip 25.1, and a new venv may have an older pip.
	$(PY) -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(PY) -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

system:
	@.ci/packages $(PACKAGES)

demo: system $(VENV)/.done  ## Boot 3 servers, plan, apply, and send requests to every dyno
	@.ci/demo $(DYNOCTL)

test: system $(VENV)/.done $(VENV)/.docs  ## Run lint, type checks, the docs build, the wheel check and all tests, including those on lab servers
	@.ci/packages chromium curl openssh-server fish tcsh zsh
	@# None of these uses two cores all the time.
	@$(MAKE) --no-print-directory --jobs=4 --output-sync=target lint docs wheel roots
	@# The files that wait for servers go first, each whole on one worker, whose others then fill the gaps.
	$(PY) -m pytest -q -n $(LABS) --dist loadfile --no-loadscope-reorder tests/lab tests/unit tests/golden tests/simulation tests/fuzz tests/agreement

unit: $(VENV)/.done  ## Run the unit, golden and simulation tests, which need no servers
	$(PY) -m pytest -q -n auto tests/unit tests/golden tests/simulation tests/fuzz

coverage: $(VENV)/.done  ## Measure the branch coverage of the unit, golden and simulation tests, and check the minimum
	@rm -f .coverage .coverage.*
	$(PY) -m coverage run -m pytest -q tests/unit tests/golden tests/simulation
	@$(PY) -m coverage combine -q
	@$(PY) -m coverage report --include='infra/engine/*,infra/plan/*,infra/state/*' --fail-under=0
	@printf 'Total coverage of the unit, golden and simulation tests, in %%: '; $(PY) -m coverage report --format=total

agreement: $(VENV)/.done  ## Compare ignore rules, schedules, URLs and logins with git, systemd, Ruby, libpq and OpenSSH
	@.ci/packages curl git systemd ruby ruby-pg ruby-redis openssh-client openssh-server fish tcsh zsh
	$(PY) -m pytest -q tests/agreement

lint: $(VENV)/.done  ## Run ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(VENV)/.docs: $(VENV)/.done
	$(PY) -m pip install --quiet --disable-pip-version-check --group docs
	@touch $@

docs: $(VENV)/.docs  ## Build the site into build/docs, and fail on warnings and dead links
	$(VENV)/bin/sphinx-build -q -W --keep-going -n -j auto docs build/docs
	@echo "The site is in build/docs/index.html."

roots: $(VENV)/.done  ## Build the root filesystems of the servers that the tests boot
	@$(PY) -m tests.lab.roots

wheel: $(VENV)/.done  ## Build the wheel and run it in a new environment
	@.ci/wheel $(PY)

# RELEASE is the Debian release of the virtual machine, such as trixie; that of this machine if it is not given.
vm-test: $(VENV)/.done  ## Boot a virtual machine with cgroup v2, emulated in software, and test memory and CPU limits on it
	@.ci/packages qemu-system-x86 e2fsprogs mmdebstrap squashfs-tools openssh-client util-linux
	@RELEASE="$(RELEASE)" $(PY) -m pytest -q -s tests/vm

bench: system $(VENV)/.done  ## Run the benchmarks, with ratios against a peer in the same run
	@.ci/packages wrk
	@$(PY) -m tests.bench

# SIZES are the numbers of servers, PEERS is the largest of them that others are run with, and PICTURE is a file for the
# curves, such as docs/images/scale.svg.
bench-fleet: system $(VENV)/.done  ## Measure what plan, ps and a simulated apply cost with up to 1,000 servers, against pyinfra and Ansible
	@.ci/packages openssh-server perl
	@PICTURE="$(PICTURE)" PEERS="$(PEERS)" $(PY) -m tests.bench.fleet $(SIZES)

soak: system $(VENV)/.done  ## Run the long tests, a million simulated applies and a million hostile answers first
	@.ci/packages chromium curl
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dask]'
	FUZZ=soak $(PY) -m pytest -q -n auto --dist worksteal tests/unit/test_fuzz_answers.py
	SIMULATION=soak $(PY) -m pytest -q -n auto --dist worksteal tests/simulation
	$(PY) -m pytest -q -n $(LABS) --dist loadfile --no-loadscope-reorder tests/lab --soak

clean:  ## Take down every lab and remove build results
	-@[ ! -x $(DYNOCTL) ] || $(DYNOCTL) lab down --all
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*

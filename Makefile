# SPDX-License-Identifier: GPL-2.0-or-later
#
#   make run     set up what is missing, then a demonstration call        (ARGS="--once")
#   make test    set up what is missing, then lint and all tests, in two processes   (ARGS="-k jitter", "-n 0" for one)
#   make matrix  every codec, packet time, way and SRTP suite with SIPp and Asterisk, audio compared; 5 to 15 minutes
#   make bench   what calls cost, beside Asterisk and the floor, into the table of the README; 5 minutes
#   make bench-hour   an hour of 100 calls on a bad network, in virtual time; 2 minutes   (ARGS="3")
#   make bench-load   calls at once, CPU per call, 30,000 calls in a row; 12 minutes   (ARGS="calls 100")
#   make bench-dtmf   key tones found in audio, and in two hours of speech that has none; 10 minutes (ARGS="--minutes 10")
#   make bench-vad   speech found in noise, by energy and by Silero's network; 4 minutes   (ARGS="--energy-only")
#   make bench-barge-in   how long an agent is heard after the caller has begun to speak, in real calls; some minutes
#   make bench-concealment   MOS of speech over lossy networks, by PESQ; 5 minutes           (ARGS="--quick")
#   make bench-marks   how true marks are, idle and with 100 calls beside; 2 minutes
#   make bench-failover   agents killed and stopped under their calls: time to the next one, frames lost; 3 minutes  (ARGS="--calls 50")
#   make bench-opus   Opus beside libopus alone, and what it sounds like; 2 minutes    (ARGS="--quick", "--pesq")
#
# Needs git and make, and root or sudo for system packages that are missing; see README.

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
LOGS := .cache/logs
QUIETLY := .ci/quietly

.PHONY: help setup run test lint doctor matrix bench bench-load bench-dtmf bench-concealment bench-hour bench-opus bench-engine bench-srtp \
	bench-failover bench-vad bench-barge-in bench-marks bench-chunks bench-prebuffer \
	bench-codecs bench-dialects bench-resampling bench-jitter bench-drift bench-overload clean packages FORCE
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' $(firstword $(MAKEFILE_LIST)); echo "also: setup, lint, doctor, bench-engine, bench-srtp, bench-codecs, bench-dialects, bench-resampling, bench-jitter, bench-drift, bench-chunks, bench-prebuffer, bench-overload, clean"

setup: .venv/.pjsip

run: setup
	@$(BIN)/trunkline demo $(ARGS)

test: setup .venv/.dev
	@$(MAKE) --no-print-directory lint
	@echo "==> tests"
# A file's tests stay together; big files come early, so that both processes end at about the same time.
	@$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

lint: .venv/.dev
	@echo "==> ruff"
	@$(BIN)/ruff check --quiet --output-format concise .
# From the root mypy would take codecs/ for the standard library's codecs: it runs beside a link that gives the
# folders their real names.
	@echo "==> mypy"
	@mkdir -p .cache/mypy && ln -sfn ../.. .cache/mypy/trunkline
	@cd .cache/mypy && ../../$(BIN)/mypy --config-file ../../pyproject.toml --no-error-summary \
		-p trunkline.gateway -p trunkline.rtp -p trunkline.codecs -p trunkline.agent_bridge
	@echo "==> import-linter"
	@$(QUIETLY) $(LOGS)/import-linter.log "who imports whom" $(BIN)/lint-imports

matrix: setup .venv/.dev
	@PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m matrix.run $(ARGS)

bench: .venv/.dev | packages
	@PYTHONPATH=tests $(BIN)/python -m bench.standard $(ARGS)

bench-load: setup .venv/.dev
	@PYTHONPATH=tests $(BIN)/python -m bench.load $(ARGS)

bench-concealment: .venv/.bench
	@PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.concealment $(ARGS)

bench-opus: .venv/.bench
	@PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.opus_cost $(ARGS)

bench-dtmf: .venv/.dev | packages
	@PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.tones $(ARGS)

bench-vad: .venv/.dev | packages
	@PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.voice_activity $(ARGS)

bench-barge-in: setup .venv/.dev
	@PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.barge_in $(ARGS)

bench-engine: .venv/.dev
	@PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.engine_cost $(ARGS)

bench-codecs bench-resampling: .venv/.dev
	@PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.$(@:bench-%=%) $(ARGS)

bench-srtp: .venv/.dev
	@PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.srtp_cost $(ARGS)

bench-dialects: .venv/.dev
	@PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.dialect_cost $(ARGS)

bench-overload: .venv/.dev
	@PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.overload $(ARGS)

bench-jitter bench-drift: .venv/.dev
	@PYTHONPATH=tests $(BIN)/python -m $(subst -,.,$@) $(ARGS)

bench-marks: setup .venv/.dev
	@PYTHONPATH=tests $(BIN)/python -m bench.marks $(ARGS)

bench-chunks: .venv/.dev
	@PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.chunk_cost $(ARGS)

bench-prebuffer: .venv/.dev
	@PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.prebuffer $(ARGS)

bench-failover: setup .venv/.dev
	@PYTHONPATH=tests $(BIN)/python -m bench.failover $(ARGS)

bench-hour: .venv/.dev
	@PYTHONPATH=tests $(BIN)/python -m bench.hour $(ARGS)

doctor: setup
	@$(BIN)/trunkline doctor $(ARGS)

# Wheels and sources of PJSIP stay in $$XDG_CACHE_HOME/trunkline.
clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info build
	rm -f codecs/_native.*.so gateway/media/_native.*.so

# Asked each time, in 0.1 s: a stamp would not know that a package has gone.
packages:
	@.ci/system-packages gateway/pjsip/packages.txt $(LOGS)/apt.log

.venv/bin/python: | packages
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "trunkline needs Python 3.11 or newer; $(PYTHON) is older. Name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(QUIETLY) $(LOGS)/venv.log "create .venv" $(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

# Each stamp is a step that is done; deleting it does the step again.
# pip says nothing of kernels that could not be compiled; trunkline does without.
.venv/.gateway: pyproject.toml $(wildcard codecs/native/* gateway/media/native/*) | .venv/bin/python
	@rm -f codecs/_native*.so gateway/media/_native*.so  # pip would leave old ones where new ones cannot be built
	@$(QUIETLY) $(LOGS)/pip.log "install trunkline and what it needs" $(BIN)/pip install --disable-pip-version-check -e '.[gateway,demo]'
	@env -u TRUNKLINE_COMPILED $(BIN)/python -c 'import sys; from trunkline.gateway.media import compiled; sys.exit(compiled.in_use() != "compiled")' || \
		echo "    compiled kernels could not be built: calls will cost more CPU time; trunkline doctor names the cure"
	@touch $@

.venv/.dev: .venv/.gateway
	@$(QUIETLY) $(LOGS)/pip-dev.log "install test tools" $(BIN)/pip install --disable-pip-version-check -e '.[gateway,demo,dev]'
	@touch $@

.venv/.bench: .venv/.dev
	@$(QUIETLY) $(LOGS)/pip-bench.log "install PESQ" $(BIN)/pip install --disable-pip-version-check -e '.[gateway,demo,dev,bench]'
	@touch $@

.venv/.pjsip: .venv/.gateway gateway/pjsip/recipe.py | packages
	@echo "==> PJSIP"
	@$(BIN)/trunkline pjsip build
	@touch $@

# A source that the user names is looked at each time: the cache knows whether it is new.
ifdef TRUNKLINE_PJPROJECT
.venv/.pjsip: FORCE
endif

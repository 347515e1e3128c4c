# `make` alone prints the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PY := .venv/bin/python
UV := .venv/bin/uv
UV_VERSION := 0.13.9
PYTEST := $(PY) -m pytest -q -rs
# Tests that mostly wait run several at once, each worker with clusters and hubs of its own (WORKERS=0: one after the other).
WORKERS ?= 5
AT_ONCE = -n $(WORKERS) --dist loadgroup
# The oldest Kubernetes that the chart supports: make test-cluster KUBERNETES=1.31
KUBERNETES ?= $(QWEN3_KUBERNETES)
export QWEN3_KUBERNETES := $(KUBERNETES)
# Compiled modules are kept whatever the machine's default: the tests start a thousand processes, and each would compile
# all that it imports.
unexport PYTHONDONTWRITEBYTECODE
# Control planes are most of what the tests compute, and a third of that is Go's collector: it may come less often.
test-together test-cluster test-faults-sample test-faults test-fuzz test-e2e: export GOGC = 300

help: ## print the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

## ---- set-up
setup: .venv/.done ## make .venv with the operator, the downloader and the test tools
.venv/.done: requirements/dev.lock pyproject.toml downloader/pyproject.toml
	@./hack/setup.sh $(UV_VERSION)
	@touch $@

lock: .venv/.done ## write the locked requirements anew
	$(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml -o requirements/operator.lock
	$(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --extra dev pyproject.toml downloader/pyproject.toml -o requirements/dev.lock
	$(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header requirements/docs.in -o requirements/docs.lock

## ---- the main job
demo: .venv/.done ## serve a tiny Qwen3 on a real node of this machine and talk to it
	$(PY) -m demo up

demo-down: .venv/.done ## end what `make demo` left running, and nothing else
	$(PY) -m demo down

## ---- tests
test: test-unit test-together test-e2e ## what CI runs: unit, download, cluster, faults, e2e

test-together: .venv/.done ## download, cluster and a sample of the faults at once: one waits while another works
	$(PYTEST) tests -m "download or cluster or faults" $(AT_ONCE)

test-unit: .venv/.done ## the fast tests: no cluster, seconds
	$(PYTEST) tests -m "not cluster and not faults and not e2e and not download" -n 2

test-download: .venv/.done ## the downloader against a hub with faults
	$(PYTEST) tests -m download $(AT_ONCE)

test-cluster: .venv/.done ## the operator as installed, on a real control plane with simulated nodes (KUBERNETES=1.31: the oldest)
	$(PYTEST) tests -m cluster $(AT_ONCE)

test-faults-sample: .venv/.done ## a sample of the faults, and 100 sequences of specs
	$(PYTEST) tests/faults tests/fuzz -n 2 --dist loadgroup

test-faults: .venv/.done ## every fault: a crash at each write, each request refused, lost or late (nightly)
	QWEN3_FAULTS=full $(PYTEST) tests/faults -n 2 --dist loadgroup

test-fuzz: .venv/.done ## 2,000 sequences of specs, by their seed on file (nightly; ARGS="-k way")
	QWEN3_FUZZ=full $(PYTEST) tests/fuzz -n 2 --dist loadgroup $(ARGS)

test-e2e: .venv/.done ## the whole chain on a real node, with a real vLLM
	$(PYTEST) tests -m "e2e and not load and not nightly" -n 2 --dist loadgroup

test-e2e-nightly: .venv/.done ## what takes minutes for one point: engines of several processes, wrong servers, thousands of lines, fences, Argo CD (nightly)
	$(PYTEST) tests -m "nightly"

test-load: .venv/.done ## users on the real node through roll-outs, drains, faults: requests, failures, gaps (half an hour; ARGS="-k drain")
	$(PYTEST) tests -m load -s $(ARGS)

bench-scale: .venv/.done ## a thousand Qwen3Deployments and more on simulated nodes (40 minutes; ARGS="--case hundred")
	$(PY) -m tests.perf.scale $(ARGS)

bench-download: .venv/.done ## the download against curl, aria2c and the plain client (45 minutes; ARGS="--case tls")
	$(PY) -m tests.perf.download $(ARGS)

## ---- checks and generated files
verify: .venv/.done ## lint, types, and that generated files are fresh
	.venv/bin/ruff check . && .venv/bin/ruff format --check .
	.venv/bin/mypy
	$(PY) hack/generate.py --check

format: .venv/.done ## format the code
	.venv/bin/ruff check --fix . && .venv/bin/ruff format .

crds: .venv/.done ## write what is made from the code: crds/, the chart's copy, deploy/, reference pages, the version
	$(PY) hack/generate.py

docs: .venv-docs/.done ## build the documentation site into site/, in English and Chinese; a warning fails
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
.venv-docs/.done: requirements/docs.lock | .venv/.done
	$(UV) venv -q --clear .venv-docs
	$(UV) pip install -q --python .venv-docs/bin/python --require-hashes -r requirements/docs.lock
	@touch $@

## ---- pieces
images: .venv/.done ## build the images of the operator and the downloader
	$(PY) -m images build operator downloader

images-push: .venv/.done ## push the images for your own cluster: REGISTRY=registry.example/team (ARGS="operator downloader")
	$(PY) -m images push $(or $(REGISTRY),$(error say where to: make images-push REGISTRY=registry.example/team)) $(ARGS)

release: .venv/.done ## push images and chart of this version, write dist/: REGISTRY=registry.example/team (ARGS=--insecure: plain HTTP)
	$(PY) -m images release $(or $(REGISTRY),$(error say where to: make release REGISTRY=registry.example/team)) $(ARGS)

registry: .venv/.done ## run a container registry on 127.0.0.1:5000, until Ctrl-C
	$(PY) -m devcluster registry

devcluster-up: .venv/.done ## start a development cluster (ARGS="--real-node" for a real node)
	$(PY) -m devcluster up $(ARGS)

devcluster-down: .venv/.done ## end the development cluster
	$(PY) -m devcluster down $(ARGS)

.PHONY: help setup lock demo demo-down test test-unit test-download test-cluster test-faults-sample test-faults test-fuzz test-e2e test-e2e-nightly test-load bench-scale bench-download verify format crds docs images images-push release registry devcluster-up devcluster-down

# Two commands for people: `make run` and `make test`.
.PHONY: help run test chaos test-faults soak recovery-drill bench bench-gateway load accuracy calibration references contract conformance k8s test-k8s images-test lint clean
.DEFAULT_GOAL := help

help: ## Show the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build, start everything, replay the samples, print the report; stays up until Ctrl-C (ONCE=1: ends after the report)
	@scripts/run.sh

test: ## Install and start what tests need, run all of them, one summary
	@scripts/test.sh

chaos: ## Kill services and the database 220 times during ingest, snapshots and scoring (takes half an hour)
	@scripts/chaos.sh

test-faults: ## Hold the promises about faults against real processes (at most 25 minutes)
	@scripts/test-faults.sh

soak: ## Replay days for a quarter of an hour: memory and tables must not grow
	@scripts/soak.sh

recovery-drill: ## Destroy and restore a private server from a dump and from base backup and log
	@scripts/recovery-drill.sh

bench: ## Measure what README states (OUT=file.json writes the figures)
	@scripts/bench.sh

bench-gateway: ## Measure the gateway beside nginx and Envoy (OUT=file.json writes the figures)
	@scripts/bench-gateway.sh

load: ## An open load of mixed routes on a private system (RATE=5000 a second, SECONDS_EACH=600)
	@scripts/load.sh

accuracy: ## Measure answers on labelled recordings (DATA=DIR instead of Samples, OUT=file.json writes the figures)
	@scripts/accuracy.sh

calibration: ## Check the engine's statistics on series whose truth is known (two minutes; SCALE=0.1 for a look)
	@scripts/calibration.sh

references: ## Compare the engine's statistics with scipy, statsmodels and scikit-learn
	@scripts/references.sh

k8s: ## Make k8s/ and the chart's copies of monitoring/ anew
	@scripts/k8s.sh

test-k8s: ## Prove chart, manifests and monitoring (ONLY=REGEX: some; QUICK=1: without planted faults, updates, autoscaling and alerts)
	@scripts/test-k8s.sh

contract: ## Compare the answers of a private system with openapi.yaml (schemathesis)
	@scripts/contract.sh

images-test: ## Build the images from programs built here and run the report through them (root; buildah, podman)
	@scripts/images-test.sh

conformance: ## HTTP/2, TLS and spans of the gateway, judged by h2, sslyze and the protocol of OpenTelemetry
	@scripts/conformance.sh

lint: ## Check format and scripts
	@scripts/lint.sh

clean: ## Remove build products and the private database (.build, .data)
	@scripts/clean.sh

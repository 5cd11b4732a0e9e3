# The everyday commands. Logic lives in the program or in a script with a name.
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo test test-crash test-oldest test-nats test-interop lint bench bench-parts bench-layouts faults generate image e2e e2e-upgrade test-model test-transitions soak fuzz sbom reproducible

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## show it all at work; with KEEP=1 it stays up for you to try things
	tools/demo

test: ## run every test, against a real API server that it starts and stops
	tests/control-plane.sh
	tools/chart-tools run tools/nats-tools run tools/control-plane run -- cargo test --locked

test-crash: ## kill the journal and the program 200 times each, cut the power at some thousand moments, damage files
	HERALD_TEST_KILLS=200 HERALD_TEST_CRASH_STATES=2000 cargo test --locked --lib -- --include-ignored --nocapture \
		embedded::tests::kill embedded::tests::crash embedded::tests::damage
	HERALD_TEST_KILLS=200 tools/control-plane run -- cargo test --locked --test e2e -- --nocapture restart:: disk::

test-oldest: ## the same against the oldest Kubernetes that Herald is for
	HERALD_KUBERNETES=oldest tools/chart-tools run tools/control-plane run -- cargo test --locked --test e2e

test-nats: ## run the tests of the program with its journal on NATS, but those of its own disk
	HERALD_TEST_JOURNAL=nats tools/nats-tools run tools/control-plane run -- cargo test --locked --test e2e -- \
		canaries:: delivery:: journey:: manage:: quotas:: replays:: tenants:: --skip delivery::disk

test-model: ## check the rules of sending on a larger model, exhaustively: minutes, and GB of memory
	cargo test --locked --lib model:: -- --include-ignored --nocapture --test-threads 1

test-transitions: ## more random edits, cut watches, late answers, ended API servers (HERALD_TEST_SEED=… plays one again)
	HERALD_TEST_SEQUENCES=100 tools/control-plane run -- cargo test --locked --test e2e transitions:: -- --nocapture

test-interop: ## deliver to the official libraries in Python and Node.js, by the docs' own snippets
	tests/interop/run

fuzz: ## look for inputs that break a parser, with libFuzzer (TARGET=events SECONDS=600; all and 60 s unless set)
	tools/fuzz $(or $(TARGET),all) $(or $(SECONDS),60)

lint: ## format, clippy, docs, scripts, licences and generated files
	tools/lint

bench: ## measure the whole product and print the table (ONLY=drain,latency for some of it)
	tools/nats-tools run tools/control-plane run -- cargo bench --locked --bench herald -- $(ONLY)

soak: ## 20 minutes of load with failing endpoints and restarts: nothing lost, nothing grows (MINUTES=3, SEED=7)
	MINUTES=$(or $(MINUTES),20) $(if $(SEED),SEED=$(SEED)) tools/control-plane run -- cargo bench --locked --bench herald -- soak

faults: ## three dispatchers on three servers of NATS: crashes, cuts, bad disks, updates; needs root (ONLY=CutLeaderOff)
	cargo bench --locked --profile dev --bench herald --no-run
	tools/nats-tools run tools/control-plane build
	tools/nats-tools run tools/fault-ground run tools/control-plane run -- \
		cargo bench --locked --profile dev --bench herald -- faults $(ONLY)

bench-parts: ## measure the parts on their own
	cargo bench --locked --bench journal --bench ingest --bench outbound

bench-layouts: ## compare ways to keep the queues on NATS JetStream, on three servers that it starts: 6 minutes
	tools/nats-tools run cargo run --locked --release --manifest-path benches/layouts/Cargo.toml --target-dir target

generate: ## write what is made from other sources: crds/, references in docs/, the chart's README, kustomize/
	tools/generate .

sbom: ## write what herald is made of, as it ships: target/herald.cdx.json (CycloneDX)
	tools/sbom

reproducible: ## build the release twice in different places and compare the bytes
	tools/reproducible

image: ## build the container images herald:dev and herald-receiver:dev
	docker build --tag herald:dev --build-arg REVISION=$$(git rev-parse HEAD) .
	docker build --tag herald-receiver:dev --target receiver .

e2e-upgrade: ## from an earlier commit's chart and image to this one and back, in the same cluster
	tests/pods/run upgrade

e2e: ## install the chart in a real cluster and try everything there (CLUSTER=kind, or see tests/pods/run)
	tests/pods/run

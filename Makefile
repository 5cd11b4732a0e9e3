# The everyday commands. Logic lives in the program or in a script with a name.
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help test

help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## runs every test, against a real API server that it starts and stops
	tests/control-plane.sh
	tools/control-plane run -- cargo test --locked

.PHONY: setup run test bench lint
.DEFAULT_GOAL := setup

setup: ## Makes .venv with the exact libraries of the lock files; nothing to do while those are unchanged
	@scripts/setup

run: setup ## The demo's whole day, then the server stays up: PORT, REALTIME_PORT, DATA_DIR, ONCE=1
	@.venv/bin/python scripts/run.py

test: setup ## Lint, types, import rules and every test
	@scripts/test

bench: setup ## Teahouse against Go peers, in one run on this machine
	@scripts/bench

lint: setup ## Lint, types and import rules only
	@scripts/lint

# Everything a person or CI runs. `make help` lists it.
SHELL := bash
.DELETE_ON_ERROR:
.PHONY: help demo test check soak bench clients tools

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 14

demo: tools ## build, start MySQL and Tidegate on free ports, load the sample schema, run a workload, report, stay up (DEMO_EXIT=1: end)
	@echo 'demo: building the release (some minutes the first time)'
	cargo build --release --locked --bin tidegate --example demo
	target/release/examples/demo

test: tools ## format, lints, unit, golden, simulated and end-to-end tests; the database servers are fetched on first use
	tests/tools/mysql-tree --mock >/dev/null
	tests/tools/mysql-tree --mariadb >/dev/null
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --no-fail-fast

check: tools ## the quick part of the tests: format, lints, unit tests and house rules; no server, no network
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --lib --test tidy --test licences

soak: tools ## the long floods (10 to 15 minutes): a million texts, a full cache, connects without end, ten million mangled packets, garbage of new seeds
	tests/tools/mysql-tree --mock >/dev/null
	cargo test --locked --lib -- --ignored --nocapture soak_
	cargo test --release --locked --test e2e -- --ignored --nocapture --test-threads=1 --skip generated_sessions soak_

sessions: tools ## 50,000 random session programs of a new seed, at the server and through a small pool (most of an hour)
	tests/tools/mysql-tree --mock >/dev/null
	cargo test --locked --test e2e -- --ignored --nocapture --test-threads=1 generated_sessions::soak_

bench: tools ## CPU time per query against a bare forwarder, the server alone, HAProxy and MySQL Router; crowds of up to 512 clients; writes target/bench/summary.json
	cargo build --release --locked --bin tidegate --example bench
	target/release/examples/bench

clients: tools ## real clients and their own test suites, at the server and through Tidegate; writes the table in README.md
	cargo test --locked --test e2e -- --ignored --nocapture --test-threads=1 clients::all_

# Says what is missing before anything fails for want of it.
tools:
	@for program in cargo cc; do command -v $$program >/dev/null || { echo "needs '$$program' on PATH (Rust by rustup, a C compiler from the distribution)"; exit 1; }; done

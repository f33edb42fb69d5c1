# `make` alone says what can be made.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What `make fuzz` runs, and for how long each.
TARGET := all
SECONDS := 60

# What `make mutations` breaks.
NAME := all

# The part of `make test`: enough to see that the targets run, and to try every seed.
TEST_SECONDS := 5

.PHONY: help run test check format lint docs fuzz mutations bench

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST) | expand -t 17

run: ## build the proxy and start it, with a Redis of its own, on 127.0.0.1:6380
	@command -v cargo > /dev/null || { echo "cargo is not installed; see https://rustup.rs" >&2; exit 1; }
	@tests/clients/setup server
	@cargo build --release --locked
	@echo
	@echo "cloakroom listens on 127.0.0.1:6380: point a session client there, or say"
	@echo "    redis-cli -p 6380 set session:1 hello ex 60"
	@echo "    curl http://127.0.0.1:9797/metrics"
	@echo "Ctrl-C ends it, and the private Redis behind it."
	@echo
	@exec "$${CARGO_TARGET_DIR:-target}/release/cloakroom" --with-redis --listen 127.0.0.1:6380

test: ## install what the tests need, run all of them, and fuzz a little
	tests/clients/setup
	tests/servers/setup
	cargo test --locked --no-fail-fast
	tests/fuzz/run all $(TEST_SECONDS)

check: format lint docs ## what needs no server: format, lints, documentation

format:
	cargo fmt --check
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml

lint:
	cargo clippy --locked --all-targets -- -D warnings
	tests/fuzz/run lint

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

fuzz: ## fuzz each target for SECONDS=60, or one: make fuzz TARGET=scan SECONDS=600
	tests/fuzz/run $(TARGET) $(SECONDS)

mutations: ## break one rule of the proxy at a time, and see a test fail for each; or one: make mutations NAME=...
	tests/mutations/run $(NAME)

bench: ## measure beside other proxies; see benches/README.md
	cargo bench --locked --bench side_by_side -- $(ARGS)

# Every target sets up what it needs and says what it lacks. `make` alone lists them.
#
# demo, test and ci share one profile (dev in Cargo.toml) and always build the whole workspace, so
# that features do not flip between targets and nothing is compiled twice. `build` builds the examples
# for the same reason: they need what tests need, a clock that can be paused among it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
EVENTFLOW := $(TARGET_DIR)/debug/eventflow
CHAOS := $(TARGET_DIR)/debug/eventflow-chaos
# More arguments for the command behind demo, dev, bench, growth, chaos or test: make test ARGS=fenced
ARGS ?=

# $(call timed,<what>,<command>): runs it, then prints the seconds that it took.
timed = @start=$$SECONDS; $(2); printf '%s: %s s\n' '$(1)' "$$((SECONDS - start))"

## Try it

demo: build ## Two brokers, 38,094 real events, one broker killed half-way: shows that nothing is lost
	@$(EVENTFLOW) demo $(ARGS)

demo-serve: build ## The same, and leaves it running to explore
	@$(EVENTFLOW) demo --serve $(ARGS)

dev: build ## A broker on a Postgres of its own in data/dev, on port 50051; Ctrl-C stops both
	@$(EVENTFLOW) dev --data-dir data/dev $(ARGS)

install: setup ## Put `eventflow` (release build) on the PATH, in cargo's bin directory
	$(call timed,install,$(CARGO) install --path cli --locked)
	@command -v eventflow || echo 'eventflow is not on the PATH yet: add the directory that cargo names above'

## Work on it

check: setup-lint fmt tidy clippy ## The inner loop: formatting, tidy, clippy, unit tests (no Postgres)
	$(call timed,unit tests,$(CARGO) test --workspace --locked --lib --bins --quiet)

test: setup ## Every test, beside one throw-away Postgres
	$(call timed,build,$(CARGO) test --workspace --locked --no-run)
	$(call timed,previous broker,scripts/previous-broker.sh)
	$(call timed,tests,scripts/with-postgres.sh $(CARGO) test --workspace --locked $(ARGS))

ci: setup-ci fmt tidy deny clippy ## What must pass before a change goes in
	@EVENTFLOW_TEST_REDIS=required $(MAKE) test
	@$(MAKE) chaos-short

chaos: build ## Ten minutes of faults over random seeds, and a checker that looks for broken promises
	@$(CHAOS) $(if $(findstring --seed,$(ARGS)),,--seconds 600) $(ARGS)

chaos-short: build ## Two runs whose workload and faults are known, about two minutes
	@for seed in 101 102; do $(CHAOS) --seed $$seed $(ARGS); done

chaos-mutants: build ## Prove that checker: each seeded bug must be caught
	@scripts/chaos-mutants.sh $(ARGS)

bench: setup ## Measure publish, delivery and catch-up beside their ceilings (release build)
	$(call timed,build,$(CARGO) build --workspace --bins --release --locked)
	@$(TARGET_DIR)/release/eventflow-bench $(ARGS)

compare: setup ## Race EventFlow against its peers on this machine, three rounds (release build)
	@scripts/compare-setup.sh $(TARGET_DIR)/compare-tools
	$(call timed,build,$(CARGO) build -p eventflow-cli --release --locked)
	$(call timed,harness,$(CARGO) build --release --locked --manifest-path bench/compare/Cargo.toml --target-dir $(TARGET_DIR)/compare)
	@$(TARGET_DIR)/compare/release/eventflow-compare --eventflow $(TARGET_DIR)/release/eventflow \
	  --tools $(TARGET_DIR)/compare-tools $(ARGS)

compare-test: setup ## The tests of the harness of `compare`, which `test` and `ci` do not build
	$(call timed,tests,$(CARGO) test --locked --manifest-path bench/compare/Cargo.toml --target-dir $(TARGET_DIR)/compare)

growth: setup ## What grows with what, for docs/growth.md: hours, may be stopped and goes on where it was
	$(call timed,build,$(CARGO) build --workspace --bins --release --locked)
	@$(TARGET_DIR)/release/eventflow-bench growth $(ARGS)

growth-page: build ## Its charts and tables again, from bench/results/growth.csv alone
	@$(TARGET_DIR)/debug/eventflow-bench growth-page --page docs/growth.md

## Parts of the above

build: setup ## Build the whole workspace and print the seconds
	$(call timed,build,$(CARGO) build --workspace --locked --bins --examples)

fmt: ## Check the formatting (`cargo fmt` repairs it)
	@$(CARGO) fmt --all --check

clippy: setup ## Lints; a warning is an error
	$(call timed,clippy,$(CARGO) clippy --workspace --all-targets --locked -- -D warnings)

tidy: setup ## House rules that no linter knows: imports between rooms, sizes, words
	$(call timed,tidy,$(CARGO) test -p eventflow-tidy --locked --quiet)

deny: setup-ci ## Dependencies: bans, licenses, sources, and advisories when their database is here
	$(call timed,deny,scripts/deny.sh)

setup: ## Install what building and testing need (C compiler, Postgres, Redis), where allowed
	@scripts/setup.sh

setup-lint:
	@scripts/setup.sh --lint

setup-ci:
	@scripts/setup.sh --ci

help: ## This list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^## / { printf "\n%s\n", substr($$0, 4) } \
	  /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo demo-serve dev install check test ci bench growth growth-page compare compare-test build fmt clippy tidy deny chaos chaos-short chaos-mutants setup setup-lint setup-ci help

# Builds never ask a database: the checked queries are in crates/worker/.sqlx.
export SQLX_OFFLINE := true

target := $(or $(CARGO_TARGET_DIR),target)
services := cargo run --quiet --locked --package services --
with_services := $(services) with
# For what needs Postgres alone: no broker is started.
with_postgres := WXPAY_AMQP_URL=unused $(services) with
# For what starts its own servers: whatever it leaves behind is ended and deleted.
with_cleanup := WXPAY_DATABASE_URL=unused WXPAY_AMQP_URL=unused $(services) with

.PHONY: help demo dev up down test faults flood bench bench-peer fuzz lint deny migrate sqlx

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand --tabs=12

demo: ## send one order through the whole system, from the shop to the event "paid"
	cargo build --workspace --bins --locked
	@$(with_services) $(target)/debug/demo

dev: ## run simulator, worker and ingress on this machine until Ctrl-C, with an example order to paste
	cargo build --workspace --bins --locked
	@$(with_services) $(target)/debug/dev

up: ## start Postgres and RabbitMQ for development, in target/services
	@$(services) up

down: ## stop what "up" has started and delete its data
	@$(services) down

test: ## run every test, on private servers unless WXPAY_DATABASE_URL and WXPAY_AMQP_URL are set
	$(with_services) cargo test --workspace --locked --all-features

faults: ## inject faults into the whole system, then check that nothing is lost or doubled [SEED=n] [ORDERS=n] [BURST=n] [MINUTES=n]
	cargo build --workspace --bins --locked --all-features
	$(with_cleanup) $(target)/debug/faults \
		$(if $(SEED),--seed $(SEED)) $(if $(ORDERS),--orders $(ORDERS)) $(if $(BURST),--burst $(BURST)) \
		$(if $(MINUTES),--minutes $(MINUTES))

fuzz: ## feed random bytes to the parsers, SECONDS=60 each target or one TARGET=name; needs g++
	@tests/fuzz/run.sh $(or $(SECONDS),60) $(TARGET)

flood: ## send forged notifications beside honest orders and print how both fare [RATE=n] [SECONDS=n] [ORDERS=n] [LIMIT=n] [WORKERS=n] [SHAPES=n]
	$(with_services) cargo run --release --locked -p tests --bin forged-flood -- \
		$(foreach name,RATE SECONDS ORDERS LIMIT WORKERS SHAPES,$(if $($(name)),$(name)=$($(name))))

# Empty: the peer is not measured.
peer :=
bench_settings := ROWS ORDERS SECONDS TIMEOUT MERCHANTS RATE VIA NOTIFICATIONS WAITING GROWN MINUTES

bench: ## measure orders and notifications per second against the limits of this machine [ROWS=creates,...] [ORDERS=n,...] [SECONDS=n]
	cargo build --release --workspace --bins --locked
	@$(with_services) $(target)/release/bench $(if $(peer),PEER='$(peer)') \
		$(foreach name,$(bench_settings),$(if $($(name)),$(name)='$($(name))'))

PEER ?= ../shared/peers/node
bench-peer: ## the same beside another implementation, in the folder PEER=../shared/peers/node; needs node and npm
	@$(MAKE) --no-print-directory bench peer='$(PEER)'

lint: ## check format, lints, documentation, dependencies, scripts and the checked queries
	cargo fmt --all --check
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --quiet --locked --no-deps --all-features --package wechatpay-v2
	@if cargo deny --version >/dev/null 2>&1; then $(MAKE) --no-print-directory deny; \
	else echo "lint: no cargo-deny, dependencies not checked (cargo install --locked cargo-deny)"; fi
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run deploy/*/*.sh tests/*.sh tests/*/*.sh; \
	else echo "lint: no shellcheck, scripts not checked (apt-get install shellcheck)"; fi
	@if $(with_postgres) true; then $(with_postgres) tests/sqlx.sh --check; \
	else echo "lint: no Postgres, crates/worker/.sqlx not checked"; fi

# Duplicate versions are allowed and many: the log level hides them.
check_dependencies = $(foreach manifest,Cargo.toml tests/fuzz/Cargo.toml, \
	cargo deny --manifest-path $(manifest) --config deny.toml --log-level error --locked check $(1) &&) true

deny: ## check the dependencies against deny.toml; advisories only if RustSec's database can be fetched
	@$(call check_dependencies,bans licenses sources)
	@if cargo deny --log-level off fetch db 2>/dev/null; then $(call check_dependencies,advisories); \
	else echo "deny: the advisory database cannot be fetched, advisories not checked"; fi

migrate: ## bring the database of WXPAY_DATABASE_URL up to date
	cargo run --locked --bin wxpay-worker -- migrate

sqlx: ## rewrite crates/worker/.sqlx after a change of migrations or queries
	$(with_postgres) tests/sqlx.sh

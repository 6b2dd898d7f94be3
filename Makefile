# Builds never ask a database: the checked queries are in crates/worker/.sqlx.
export SQLX_OFFLINE := true

with_services := deploy/services.sh with
# What needs Postgres alone does not wait for a broker.
with_postgres := WXPAY_AMQP_URL=unused deploy/services.sh with

.PHONY: help demo up down test faults flood fuzz lint migrate sqlx

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand --tabs=10

demo: ## send one order through the whole system, from the shop to the event "paid"
	@$(with_services) deploy/demo.sh

up: ## start Postgres and RabbitMQ for development, in target/services
	@deploy/services.sh up

down: ## stop what "up" has started and delete its data
	@deploy/services.sh down

test: ## run every test, beside private servers unless WXPAY_DATABASE_URL and WXPAY_AMQP_URL are given
	$(with_services) cargo test --workspace --locked --all-features

faults: ## break it on purpose and look for what is lost or doubled [SEED=n] [ORDERS=n] [MINUTES=n]
	cargo build --workspace --bins --locked --all-features
	target/debug/faults $(if $(SEED),--seed $(SEED)) $(if $(ORDERS),--orders $(ORDERS)) $(if $(MINUTES),--minutes $(MINUTES))

fuzz: ## feed the parsers strange bytes, SECONDS=60 each target or one TARGET=name; needs g++
	@tests/fuzz/run.sh $(or $(SECONDS),60) $(TARGET)

flood: ## pour RATE forged notifications a second for SECONDS over honest orders, and print what becomes of both
	$(with_services) cargo run --release --locked -p tests --bin forged-flood -- \
		$(foreach name,RATE SECONDS ORDERS LIMIT WORKERS SHAPES,$(if $($(name)),$(name)=$($(name))))

lint: ## check format, lints, dependencies, scripts and the checked queries
	cargo fmt --all --check
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then deploy/deny.sh; \
	else echo "lint: no cargo-deny, dependencies not checked (cargo install --locked cargo-deny)"; fi
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run deploy/*.sh deploy/*/*.sh tests/*/*.sh; \
	else echo "lint: no shellcheck, scripts not checked (apt-get install shellcheck)"; fi
	@if $(with_postgres) true; then $(with_postgres) deploy/sqlx.sh --check; \
	else echo "lint: no Postgres, crates/worker/.sqlx not checked"; fi

migrate: ## bring the database of WXPAY_DATABASE_URL up to date
	cargo run --locked --bin wxpay-worker -- migrate

sqlx: ## rewrite crates/worker/.sqlx after a change of migrations or queries
	$(with_postgres) deploy/sqlx.sh

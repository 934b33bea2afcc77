# Everything here is one cargo command or two: see CONTRIBUTING.md for working without make.

# Outside of the clone, because a cold build takes some ten minutes, RocksDB's C++ most of them: a
# fresh clone, or a second one, finds it done.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/quorate
export CARGO_TARGET_DIR ?= $(CACHE)/target
# Where setup puts the Python packages of the test that is a client in another language.
export QUORATE_VENV ?= $(CACHE)/python

# Where setup puts what builds the book.
export QUORATE_TOOLS ?= $(CACHE)/tools

PLUGINS := counter kv ledger lock queue

.PHONY: run test sim hostile build book lint setup setup-test setup-book clean

run: build ## a cluster of three nodes on this machine, in the foreground
	exec dist/quorate dev --nodes 3

test: setup-test
	cargo test --release --workspace

sim: setup ## the simulator as CI runs it: 4,700 seeds, then every planted bug must be found
	cargo sim -- --full

hostile: setup ## 5,000 modules that mean harm
	cargo run --release --package quorate-hostile -- --modules 5000

build: setup ## the release binary and the plugins' modules, in dist/
	cargo build --release --package quorate
	@mkdir -p dist
	@install -C $(CARGO_TARGET_DIR)/release/quorate dist/quorate
	@set -e; for plugin in $(PLUGINS); do \
		dist/quorate build plugins/$$plugin --out dist/$$plugin.wasm; \
	done

book: setup-book ## the book as HTML, in dist/book/
	$(QUORATE_TOOLS)/bin/mdbook build docs

# All in the release profile, which shares RocksDB with the builds.
lint: setup
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	cargo clippy --release --package quorate-sim --features quorate-sim/canary -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --release --workspace --no-deps

setup:
	@tools/setup.sh

setup-test:
	@tools/setup.sh test

setup-book:
	@tools/setup.sh book

clean:
	cargo clean
	rm -rf dist

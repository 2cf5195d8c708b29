# The index of what can be done here: `make` alone lists it.
SHELL := /bin/bash
export PATH := $(PATH):/usr/sbin:/sbin:$(HOME)/.cargo/bin
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/debug/selvedge
RELEASE := $(TARGET)/release/selvedge

.PHONY: help setup kubernetes build demo test lint bench bench-bgp bench-cni bench-store sim soak fuzz docs

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what the build, the demo and the tests need (as root), or say what is missing
	@scripts/setup

kubernetes: ## build the real kube-apiserver once (needs Go), and keep it for the tests that ask for one
	@scripts/kube-apiserver

build: setup ## the program, and completion and man pages for it in target/pages
	@$(CARGO) build --quiet --locked --bin selvedge
	@$(BIN) pages $(TARGET)/pages

demo: build ## the whole how-to in namespaces: a VM outside the cluster reaches a pod, a service and a name
	@$(BIN) lab run howto

test: build ## every test; what needs root is run when you are root, else said and counted
	@scripts/test

lint: setup ## formatting, clippy, dependencies, and the budgets
	@scripts/lint

bench: bench-bgp bench-cni bench-store ## every bench, side by side with a peer

bench-bgp: setup ## BGP beside BIRD, FRR, OpenBGPD, GoBGP: tables, reflector, latency, kernel (QUICK=1: BIRD only)
	@scripts/bench-bgp

bench-cni: setup ## CNI ADD and DEL against the reference plugins
	@scripts/bench-cni

bench-store: setup ## the command, IPAM and watches on SQLite and etcd, beside etcdctl
	@scripts/bench-store

sim: build ## in simulation: the how-to under faults (200 seeds), BGP topologies against a model (10,000)
	@$(BIN) lab run howto --sim --faults 6 --seeds $(or $(SEEDS),200)
	@$(CARGO) run --quiet --locked --release -p bgpsim -- --seeds $(or $(SEEDS),10000)

soak: setup ## the speaker under churn, 300 peers, one killed each second, for SECONDS=600: memory flat, routes equal to a model
	@$(CARGO) run --quiet --locked --release -p soak -- --seconds "$(or $(SECONDS),600)" $(if $(SEED),--seed "$(SEED)")

fuzz: setup ## the decoders under random input, SECONDS=600 a target (needs nightly and cargo-fuzz; says so when absent)
	@SECONDS_EACH="$(or $(SECONDS),600)" scripts/fuzz

docs: ## the code's documentation
	@$(CARGO) doc --workspace --no-deps --locked

# Fairlead's build. `make help` lists what there is to do.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VERSION ?= $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//' | grep . || echo 0.0.0-dev)
COMMIT  ?= $(shell git describe --always --dirty --exclude '*' --abbrev=12 2>/dev/null || echo unknown)
# BIN is where everything built goes: programs, and the agents' archives.
BIN ?= bin

# go.work names the modules; nothing else lists them.
MODULES  = $(patsubst $(CURDIR)/%,%,$(shell go list -m -f '{{.Dir}}'))
PACKAGES = $(MODULES:%=./%/...)

# Static, without paths of this machine, and without the time: two builds of one
# commit are the same bytes.
STAMP    = fairlead.dev/shared/buildinfo
LDFLAGS  = -s -w -X $(STAMP).version=$(VERSION) -X $(STAMP).commit=$(COMMIT)
GO_BUILD = CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

# The tools of the build, compiled once for each content of their go.mod files.
TOOLS      := .tools
TOOL_FILES := tools/go.mod tools/go.sum tools/buf/go.mod tools/buf/go.sum
TOOL_STAMP  = $(TOOLS)/built-$(shell cat $(TOOL_FILES) | sha256sum | cut -c 1-16)

SCRIPTS   = $(wildcard scripts/*.sh) .ci/run
GENERATED = protobuf/gen migrations/schema.sql install-scripts/testdata/golden crane/internal/kube/testdata/golden

say = @printf '==> %s\n'

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Build

.PHONY: build
build: ## the programs, in bin/
	$(say) "building controller, dagent and crane $(VERSION) ($(COMMIT))"
	@mkdir -p $(BIN)
	@$(GO_BUILD) -o $(BIN)/ ./controller/cmd/controller ./dagent/cmd/dagent ./crane/cmd/crane

.PHONY: artifacts
artifacts: $(BIN)/artifacts/dagent-linux-amd64.tar $(BIN)/artifacts/dagent-linux-arm64.tar $(BIN)/artifacts/crane-linux-amd64.tar $(BIN)/artifacts/crane-linux-arm64.tar ## the agents' image archives, which the controller serves

# Always asked, so that the archive is never older than the code; Go's own
# cache makes an unchanged one cheap. The digest of the edge's archive is stamped
# into the agent, which fetches it by that when a deployment asks for routes.
$(BIN)/artifacts/dagent-linux-%.tar: $(BIN)/artifacts/edge-linux-%.tar FORCE
	$(say) "packing dagent for linux/$*"
	@mkdir -p $(BIN)/linux-$* $(BIN)/artifacts
	@GOOS=linux GOARCH=$* $(GO_BUILD) -ldflags "$(LDFLAGS) -X $(STAMP).edgeArtifact=sha256:$$(sha256sum <$< | cut -c 1-64)" \
		-o $(BIN)/linux-$*/dagent ./dagent/cmd/dagent
	@go run ./shared/ociimage/cmd/ociimage --binary $(BIN)/linux-$*/dagent --platform linux/$* \
		--healthcheck /dagent --healthcheck healthcheck --tag fairlead/dagent:$(VERSION) --output $@ --bill $(@:.tar=.cdx.json)

.PRECIOUS: $(BIN)/artifacts/edge-linux-%.tar
$(BIN)/artifacts/edge-linux-%.tar: FORCE
	$(say) "packing the edge for linux/$*"
	@mkdir -p $(BIN)/linux-$* $(BIN)/artifacts
	@GOOS=linux GOARCH=$* $(GO_BUILD) -o $(BIN)/linux-$*/edge ./edge/cmd/edge
	@go run ./shared/ociimage/cmd/ociimage --binary $(BIN)/linux-$*/edge --platform linux/$* --user 65532:65532 \
		--healthcheck /edge --healthcheck healthcheck --tag fairlead/edge:$(VERSION) --output $@

# As nobody in particular: the agent of a cluster needs nothing of its node.
$(BIN)/artifacts/crane-linux-%.tar: FORCE
	$(say) "packing crane for linux/$*"
	@mkdir -p $(BIN)/linux-$* $(BIN)/artifacts
	@GOOS=linux GOARCH=$* $(GO_BUILD) -o $(BIN)/linux-$*/crane ./crane/cmd/crane
	@go run ./shared/ociimage/cmd/ociimage --binary $(BIN)/linux-$*/crane --platform linux/$* --user 65532:65532 \
		--tag fairlead/crane:$(VERSION) --output $@

# The programs of a real Kubernetes, for crane's tests. They are a module of their
# own, outside the workspace: its requirements are Kubernetes' own.
KUBE     := $(BIN)/kube
KUBE_DIR := e2e/kube
CNI      := github.com/containernetworking/plugins/plugins

.PHONY: kube-build
kube-build: ## a Kubernetes control plane and node for tests, in bin/kube/ (some minutes the first time)
	$(say) "building Kubernetes' programs into $(KUBE)/"
	@mkdir -p $(KUBE)
	@export GOWORK=off CGO_ENABLED=0; \
		version=$$(go list -C $(KUBE_DIR) -m -f '{{.Version}}' k8s.io/kubernetes) && \
		flags=$$(scripts/kube-version.sh "$$version") && \
		go build -C $(KUBE_DIR) -trimpath -ldflags "-s -w $$flags" -o $(abspath $(KUBE))/ ./cmd/... \
			$(CNI)/main/bridge $(CNI)/main/loopback $(CNI)/ipam/host-local $(CNI)/meta/portmap

# The current Docker Engine, for dagent's tests; Debian's is years older. Only
# runc is not static: it is partly C.
ENGINE     := $(BIN)/engine
ENGINE_DIR := e2e/engine
MOBY       := github.com/moby/moby/v2
CONTAINERD := github.com/containerd/containerd/v2

# ON_ENGINE runs a test's program beside that engine.
ON_ENGINE  = $(CURDIR)/scripts/on-engine.sh $(CURDIR)/$(ENGINE)

.PHONY: engine-build
engine-build: ## the current Docker Engine for tests, in bin/engine/ (some minutes the first time)
	@scripts/ensure-engine.sh
	$(say) "building the Docker Engine's programs into $(ENGINE)/"
	@mkdir -p $(ENGINE)
	@export GOWORK=off; \
		releases=$$(go list -C $(ENGINE_DIR) -m -f '{{.Dir}}' $(MOBY))/releases/versions.yaml && \
		version=$$(sed -n 's/^ *last: *"\(.*\)"/\1/p' "$$releases" | grep .) && \
		CGO_ENABLED=0 go build -C $(ENGINE_DIR) -trimpath -ldflags "-s -w -X $(MOBY)/dockerversion.Version=$$version" -o $(abspath $(ENGINE))/ \
			$(MOBY)/cmd/dockerd $(MOBY)/cmd/docker-proxy $(CONTAINERD)/cmd/containerd $(CONTAINERD)/cmd/containerd-shim-runc-v2 && \
		CGO_ENABLED=1 go build -C $(ENGINE_DIR) -trimpath -tags seccomp -ldflags "-s -w" -o $(abspath $(ENGINE))/ github.com/opencontainers/runc

.PHONY: FORCE
FORCE:

##@ Check

.PHONY: check
check: machine build lint unit ## build, lint and the tests that need no whole system

.PHONY: unit
unit: machine
	$(say) "testing without e2e, install-scripts and what starts containers (make test does it all)"
	@go test -short $(filter-out ./e2e/... ./install-scripts/...,$(PACKAGES))

# Tests run in three rows side by side. Those that use this machine's engine share
# it and its images: they go one after the other, and mostly wait. Those that use
# a Kubernetes cluster of their own wait too, and after them those that use an
# engine of their own. The others mostly compute.
.PHONY: test
test: machine build artifacts kube-build engine-build lint tidy-check gen-check clean-check ## everything that continuous integration runs
	$(say) "testing every module with the race detector, in three rows: what comes of each is shown when it has ended"
	@$(MAKE) --no-print-directory --jobs 3 --output-sync=target test-engine test-cluster test-rest

.PHONY: test-engine
test-engine:
	@go test -race -count=1 -timeout 30m -p 1 ./dagent/...
	$(say) "testing what installs agents"
	@go test -race -count=1 -timeout 30m -p 1 -parallel 1 ./e2e/system/... ./install-scripts/...

.PHONY: test-cluster
test-cluster:
	@go test -race -count=1 -timeout 30m -p 1 ./crane/... ./e2e/cluster
	$(say) "testing on the current Docker Engine what engines differ in: deployments, images, crashes, installing"
	@go test -race -count=1 -timeout 30m -p 1 -exec "$(ON_ENGINE)" -run 'Contract|EngineTakes|Image|Crash' ./dagent/internal/docker
	@go test -race -count=1 -timeout 30m -p 1 -parallel 1 -exec "$(ON_ENGINE)" -run 'Installs' ./install-scripts

.PHONY: test-current-engine
test-current-engine: machine build artifacts engine-build ## everything that uses Docker, on the current engine in place of this machine's
	@go test -count=1 -timeout 60m -p 1 -parallel 1 -exec "$(ON_ENGINE)" ./dagent/... ./e2e/system ./install-scripts

.PHONY: test-rest
test-rest:
	@go test -race -count=1 -timeout 30m -p 1 \
		$(filter-out ./dagent/... ./crane/... ./e2e/... ./install-scripts/...,$(PACKAGES)) $$(go list ./e2e/... | grep -vE '/e2e/(system|cluster)$$')
	$(say) "switching guards off that need no database"
	@go run ./e2e/cmd/mutants -quick

# How long make chaos goes on.
CHAOS_MINUTES ?= 15

.PHONY: chaos
chaos: machine ## break everything around controller and agents for CHAOS_MINUTES; CHAOS_SEED replays
	$(say) "breaking things for $(CHAOS_MINUTES) minutes"
	@CHAOS_MINUTES=$(CHAOS_MINUTES) CHAOS_RACE=1 go test -count=1 -v -timeout 0 -run '^TestChaos$$' ./e2e/chaos

.PHONY: mutants
mutants: machine ## switch the guards of the agent link off, one at a time: a test must fail for each
	@go run ./e2e/cmd/mutants

# How long make fuzz spends on each target.
FUZZ_TIME ?= 1m

.PHONY: fuzz
fuzz: ## every fuzz test of the modules, FUZZ_TIME each
	@for module in $(MODULES); do \
		(cd $$module && grep -rlE '^func Fuzz' --include '*_test.go' . | xargs -r -n 1 dirname | sort -u | while read -r pkg; do \
			for target in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]*' $$pkg/*_test.go | cut -c 6-); do \
				printf '==> %s %s\n' $$module/$$pkg $$target; \
				go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZ_TIME) $$pkg || exit 1; \
			done || exit 1; \
		done) || exit 1; \
	done

.PHONY: bench
bench: machine build artifacts kube-build ## the figures: name, value, unit, floor or peer, ratio
	@scripts/ensure-compose.sh
	@scripts/ensure-kwok.sh
	@scripts/figures.sh -bench . -timeout 60m ./e2e/... ./dagent/internal/docker ./dagent/internal/route ./controller/internal/report ./controller/internal/rest/teamapi
	@$(MAKE) bench-fleet FLEET=$(or $(FLEET),2000)
	@scripts/bench-up.sh

.PHONY: bench-deploy
bench-deploy: machine ## the figures of deployments alone: beside the engine's API, compose, swarm; an agent at rest
	@scripts/ensure-compose.sh
	@scripts/figures.sh -bench 'DeployBesideEngine|IdleAgent' -timeout 60m ./e2e/system

.PHONY: bench-kube
bench-kube: machine kube-build ## the figures of the cluster agent alone: deployments beside kubectl, 100 and 2,000 workloads at rest
	@scripts/ensure-kwok.sh
	@scripts/figures.sh -bench . -timeout 60m ./e2e/cluster

.PHONY: bench-fleet
bench-fleet: machine build artifacts ## the figures of the agent link, with FLEET=10000 agents and LOSS_MINUTES=2 of a lossy network
	@go build -o $(BIN)/fleetsim ./e2e/fleetsim/cmd/fleetsim
	@$(BIN)/fleetsim --agents $(or $(FLEET),10000) --loss $(or $(LOSS_MINUTES),2)m --controller $(BIN)/controller --artifacts $(BIN)/artifacts --out $(BIN)/fleet-figures.txt
	@scripts/figures.sh -bench 'DeployUnderALogFlood|LogsToLiveReaders' ./controller/internal/app

.PHONY: lint
lint: $(TOOL_STAMP) ## gofmt, golangci-lint, shellcheck, buf
	$(say) "checking the format"
	@unformatted=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l) && \
		if [ -n "$$unformatted" ]; then printf 'not formatted (gofmt -w):\n%s\n' "$$unformatted"; exit 1; fi
	$(say) "checking the scripts"
	@scripts/ensure-checkers.sh
	@shellcheck $(SCRIPTS)
	@for module in $(MODULES); do \
		printf '==> linting %s\n' $$module; \
		(cd $$module && $(CURDIR)/$(TOOLS)/golangci-lint run --allow-parallel-runners ./...) || failed=yes; \
	done; [ -z "$$failed" ]
	$(say) "linting the agent protocol"
	@cd protobuf && $(CURDIR)/$(TOOLS)/buf lint
	@scripts/buf-breaking.sh $(TOOLS)/buf

.PHONY: vuln
vuln: $(TOOL_STAMP) ## known vulnerabilities; needs the internet, so it is no part of test
	$(say) "asking vuln.go.dev about every module"
	@for module in $(MODULES); do \
		printf '%s: ' $$module; $(TOOLS)/govulncheck -C $$module ./... || failed=yes; \
	done; [ -z "$$failed" ]

##@ Maintain

.PHONY: gen
gen: $(TOOL_STAMP) ## write what is generated: protobuf code, golden files
	$(say) "generating the protobuf code"
	@cd protobuf && PATH="$(CURDIR)/$(TOOLS):$$PATH" buf generate
	$(say) "writing the golden schema, install scripts and manifests"
	@scripts/ensure-postgres.sh
	@go test -count=1 -run '^TestMigrationsMakeTheSchemaOfAFreshDatabase$$' ./controller/internal/postgres -update >/dev/null
	@go test -count=1 -run '^TestGolden' ./install-scripts -update >/dev/null
	@go test -count=1 -short -run '^TestGolden' ./crane/internal/kube -update >/dev/null

.PHONY: freeze
freeze: $(TOOL_STAMP) ## keep the agent protocol of VERSION, once a release, to be held to
	@scripts/freeze-protocol.sh $(TOOLS)/buf $(VERSION)

.PHONY: gen-check
gen-check:
	@scripts/unchanged.sh 'generated files are stale: run make gen and commit what it changes' "$(GENERATED)" $(MAKE) gen

.PHONY: tidy
tidy: ## go mod tidy in every module, and go.work.sum
	@for module in $(MODULES); do printf '==> tidying %s\n' $$module; GOWORK=off go -C $$module mod tidy || exit 1; done
	$(say) "writing go.work.sum"
	@rm -f go.work.sum && go list -deps -test $(PACKAGES) >/dev/null

.PHONY: tidy-check
tidy-check:
	$(say) "checking that every go.mod is tidy and builds without the workspace"
	@for module in $(MODULES); do \
		GOWORK=off go -C $$module mod tidy -diff || { printf '%s: go.mod is not tidy: run make tidy\n' $$module; failed=yes; }; \
	done; [ -z "$$failed" ]

# On a developer's machine uncommitted work is no fault.
.PHONY: clean-check
clean-check:
	@if [ -n "$$CI" ] && [ -n "$$(git status --porcelain)" ]; then \
		git --no-pager status --short; git --no-pager diff | head -n 40; \
		printf 'building, generating or checking changed what is committed: run make gen tidy\n'; exit 1; \
	fi

.PHONY: clean
clean: ## remove what was built, tools too
	@rm -rf bin $(TOOLS)

##@ Run

.PHONY: up
up: ## from nothing to a deployed sample application on this machine
	@scripts/up.sh

.PHONY: kube
kube: machine kube-build ## a Kubernetes cluster of one node on this machine, until ^C
	@go build -o $(KUBE)/cluster ./crane/kubetest/cmd/kubetest && $(KUBE)/cluster

.PHONY: down
down: ## remove everything that make up made
	@scripts/down.sh

##@ Tools

# machine brings what the tests use on a machine: Docker, PostgreSQL's programs,
# a registry, a C compiler for the race detector.
.PHONY: machine
machine:
	@scripts/ensure-docker.sh
	@scripts/ensure-postgres.sh
	@scripts/ensure-registry.sh
	@scripts/ensure-kube.sh
	@scripts/ensure-checkers.sh

.PHONY: tools
tools: $(TOOL_STAMP) ## compile the pinned tools into .tools/

$(TOOL_STAMP): $(TOOL_FILES)
	$(say) "compiling the tools into $(TOOLS)/ (once; some minutes)"
	@mkdir -p $(TOOLS)
	@cd tools && GOWORK=off go build -o ../$(TOOLS)/ tool
	@cd tools/buf && GOWORK=off go build -o ../../$(TOOLS)/ tool
	@rm -f $(TOOLS)/built-*
	@touch $@

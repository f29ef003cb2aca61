# ztbridge: everything that is made, shown and tested. `make help` lists it.

# Debian's Go has GOTOOLCHAIN=local; auto lets it fetch the release that go.mod names, as a module.
export GOTOOLCHAIN = auto
# Looked up when used, since `make deps` may be what brings it; sudo drops /usr/local/go/bin from PATH.
GO = $(shell PATH="$$PATH:/usr/local/go/bin" command -v go)

# The version is told below, and git may refuse to speak of another user's checkout.
export GOFLAGS += -buildvcs=false

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  = -s -w -X main.release=$(VERSION)
FUZZTIME ?= 20s
TARGET   ?= cloud-amd64
# An image without ZeroTier is for tests, and says so. One with it takes the vendor's package or the vendor's repository:
#   --zerotier-deb FILE --zerotier-sha256 SUM
#   --zerotier-repository URL --zerotier-key FILE --zerotier-fingerprint WHOLE
ZEROTIER ?= --without-zerotier
# The public half of the key that updates are signed with (ztbridge-image keygen). An image without it takes no updates.
UPDATE_KEY ?=
# Folder of the keys that a release is signed with, its images, and the https address that it is served at.
RELEASE_KEYS ?= release-keys
IMAGES       ?= cloud-amd64 cloud-arm64 rpi-arm64
RELEASE_URL  ?=
# A Debian version begins with a digit and grows: the tag and what came after it, or else the time of the last commit. A
# tilde sorts before the end: 1.3.0~rc1 is older than 1.3.0.
RELEASE  ?= $(or $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed -E 's/-(alpha|beta|rc)/~\1/; s/-/+/g'),$(shell TZ=UTC git log -1 --date=format-local:%Y%m%d.%H%M%S --format=0.0.0+git%cd 2>/dev/null),0.0.0)

.DEFAULT_GOAL := help
.PHONY: help deps build demo test test-long check bench fuzz image image-test repro deb release release-keys clean

help: ## List what can be made
	@echo "usage: make TARGET"; echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

deps: ## Install what is missing to build, demonstrate and test (as root; Debian 12 and 13)
	@scripts/deps.sh

build: deps ## Build bin/ztbridge and bin/ztbridge-image, static, for this machine
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/ztbridge ./cmd/ztbridge-image

demo: build ## Show the gateway at work in a lab of namespaces, and try to make it leak (as root)
	$(GO) run ./scripts/unchanged $(GO) run ./cmd/ztbridge-demo

test: ## Run all tests, those that need the kernel as root; lists what was skipped, and why
	@scripts/deps.sh iperf3 ethtool zbar-tools chromium openvpn3-client@13 dbus-daemon@13
	@scripts/test.sh

test-long: ## Run the tests that take minutes each, as root: make test-long PART=2/5 for the second of five parts
	@scripts/deps.sh iperf3 ethtool openvpn3-client@13 dbus-daemon@13
	@scripts/test.sh --long $(PART)

check: ## Look for mistakes: format, vet, staticcheck, golangci-lint, shellcheck, layout
	@scripts/deps.sh shellcheck
	@$(GO) run ./scripts/unchanged scripts/check.sh

bench: ## Measure against the same path configured by hand, into bridge/e2e/RESULTS.md (as root; takes 50 min)
	@scripts/deps.sh iperf3 ethtool
	ZTBRIDGE_RESULTS=$(CURDIR)/bridge/e2e/RESULTS.md $(GO) run ./scripts/unchanged $(GO) test ./bridge/e2e -run '^$$' -bench . -benchtime 1x -timeout 60m

fuzz: deps ## Run each fuzz target for FUZZTIME (20s)
	@scripts/fuzz.sh $(FUZZTIME)

image: ## Build an image: make image TARGET=cloud-amd64 UPDATE_KEY=FILE ZEROTIER='--zerotier-deb FILE --zerotier-sha256 SUM' (as root)
	@scripts/image-deps.sh
	$(GO) run ./cmd/ztbridge-image build --target $(TARGET) --version $(patsubst v%,%,$(RELEASE)) $(ZEROTIER) \
		$(if $(UPDATE_KEY),--update-key $(UPDATE_KEY)) -o ztbridge-$(TARGET)

image-test: ## Build a test image and boot it in QEMU (as root; takes long)
	@scripts/image-deps.sh --test
	@scripts/image-test.sh $(TARGET)

repro: ## Build an image twice and compare all files bit for bit: make repro TARGET=cloud-amd64 (as root; takes long)
	@scripts/image-deps.sh
	@scripts/image-repro.sh $(TARGET)

deb: ## Build the Debian packages into dist: make deb RELEASE=1.2.3
	@scripts/image-deps.sh
	$(GO) run ./cmd/ztbridge-image deb --version $(patsubst v%,%,$(RELEASE)) -o dist

release: ## Make dist, which any web host can serve: make release IMAGES='cloud-amd64 rpi-arm64' (as root; IMAGES= leaves images out)
	@scripts/image-deps.sh reprepro
	@ZEROTIER='$(ZEROTIER)' RELEASE_URL='$(RELEASE_URL)' scripts/release.sh $(patsubst v%,%,$(RELEASE)) $(RELEASE_KEYS) $(IMAGES)

release-keys: ## Make a set of keys in RELEASE_KEYS (release-keys), to try releases with or to keep in a safe place
	$(GO) run ./cmd/ztbridge-image release-keys $(RELEASE_KEYS)

clean: ## Remove what was built
	rm -rf bin dist
	rm -f $(foreach kind,img.zst qcow2 slot.zst manifest.json spdx.json,ztbridge-*.$(kind))

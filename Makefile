# make lab     the program on this machine, with no Azure account (LAB=name: a lab of another name)
# make test    all tests, the lab's scenarios among them
# Both need Debian 12 or 13, root and package registries, and nothing else.

export LAB ?= lab

# Names every test that ran, and shows the output of those that failed.
GOTESTSUM = go run gotest.tools/gotestsum@v1.12.3

.PHONY: lab test unit scenarios

lab:
	@lab/setup.sh bin/lab up

test:
	@lab/setup.sh $(MAKE) --no-print-directory unit scenarios

unit:
	go vet ./...
	$(GOTESTSUM) --format testname -- -count=1 -timeout 15m ./...
	cd lab && go vet ./...
	cd lab && $(GOTESTSUM) --format testname -- -count=1 -timeout 15m $$(go list ./... | grep -v /scenarios)

scenarios:
	@bin/lab prepare
	cd lab && $(GOTESTSUM) --format standard-verbose -- -count=1 -timeout 40m ./scenarios/...

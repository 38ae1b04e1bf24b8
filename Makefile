# make lab     the program on this machine, with no Azure account (LAB=name: a lab of another name)
# make test    all tests, the lab's scenarios among them
# Both need Debian 12 or 13, root and package registries, and nothing else.

export LAB ?= lab

.PHONY: lab test unit scenarios

lab:
	@lab/setup.sh bin/lab up

test:
	@lab/setup.sh $(MAKE) --no-print-directory unit scenarios

unit:
	go vet ./...
	go test -count=1 -timeout 15m ./...
	cd lab && go vet ./...
	cd lab && go test -count=1 -timeout 15m $$(go list ./... | grep -v /scenarios)

scenarios:
	@bin/lab prepare
	cd lab && go test -count=1 -timeout 40m -v ./scenarios/...

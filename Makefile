# make lab     the program on this machine, with no Azure account (LAB=name: a lab of another name)
# make lint    every linter over the whole tree
# make test    make lint and all tests, the lab's scenarios among them; says at the end what took how long
# make race    all unit and engine tests with Go's race detector
# make faults  the fault suite, a line for each fault (FAULTS=regexp: some of it; two hours for all)
# make drift   every tampering with a host that the tests know; make test runs a few
# make openclaw  OpenClaw on a host, all that the tests know of it; make test runs the first half
# make images  the main job and OpenClaw itself on the other images: Ubuntu 24.04, and a Debian made like Azure's Ubuntu
# make attacks  what a red team tried, on a host; make test runs some of it
# make channels  chat services and the control UI in a real browser, as far as they go without an account
# make alerts  each alert made to happen on a host, its message and its end seen at receivers
# make overtime  a machine of the release before, taken over and lived with; needs the clone's history
# make bench   the figures: how long each job takes, and where the time goes (BENCH=regexp, BENCH_RUNS=3)
# make audit   the lab's host by ssh-audit, Lynis and dev-sec's controls, with the figures (after make lab)
# They need Debian 12 or 13, root and package registries, and nothing else.

export LAB ?= lab

# Names every test that ran, and shows the output of those that failed.
GOTESTSUM = go run gotest.tools/gotestsum@v1.12.3

# UNIT runs unit tests. What go vet finds, make lint finds.
UNIT = $(GOTESTSUM) --format testname -- -vet=off -count=1 -timeout 25m

.PHONY: lab audit bench lint test unit race unit-root unit-lab prepare scenarios faults drift images openclaw attacks channels alerts overtime

lab:
	@lab/setup.sh bin/lab up

audit:
	@lab/setup.sh lab/audit/audit.sh

bench: prepare
	@cd lab && ./setup.sh go run ./bench

lint:
	@lab/setup.sh .ci/lint

test:
	@.ci/test

unit: unit-root unit-lab

# What the race detector is linked with is installed.
race: export LAB_RACE = 1

# Without the race detector, with which all is compiled once more: `make race` has it.
unit-root:
	@lab/setup.sh $(UNIT) ./...

unit-lab:
	@cd lab && ./setup.sh sh -c '$(UNIT) $$(go list ./... | grep -v /scenarios)'

race:
	@lab/setup.sh $(UNIT) -race -timeout 60m ./...
	@cd lab && ./setup.sh sh -c '$(UNIT) -race -timeout 60m $$(go list ./... | grep -v /scenarios)'

prepare:
	@lab/setup.sh bin/lab prepare

# In the folder itself go test shows the table as it grows.
faults: prepare
	@cd lab/scenarios && FAULTS="$${FAULTS:-all}" $(CURDIR)/lab/setup.sh go test -count=1 -timeout 6h -run '^TestFaults$$'

SCENARIOS ?= Faults|MainJob|OpenClaw|Drift

# SCENARIO runs one go test of the lab's scenarios, with every step's own words. They see themselves to how many labs work at once.
SCENARIO = cd lab && ./setup.sh $(GOTESTSUM) --format standard-verbose -- -vet=off -count=1 -parallel 8 -timeout 80m ./scenarios -run

# A browser is the scenarios' alone.
scenarios: export LAB_SCENARIOS = 1
scenarios: prepare
	$(SCENARIO) '^Test($(SCENARIOS))$$'

openclaw: export OPENCLAW = all
openclaw:
	$(MAKE) scenarios SCENARIOS=OpenClaw

images: export CLIENTS = all
images: export OPENCLAW = all
images:
	LAB_SUITE=noble $(MAKE) scenarios SCENARIOS='MainJob|OpenClaw'
	LAB_LIKE=ubuntu $(MAKE) scenarios SCENARIOS='MainJob|OpenClaw'

attacks: export LAB_SCENARIOS = 1
attacks: prepare
	$(SCENARIO) '^TestAttacks$$'

channels:
	$(MAKE) scenarios SCENARIOS=Channels

alerts:
	$(MAKE) scenarios SCENARIOS=Alerts

overtime: prepare
	$(SCENARIO) '^TestOverTime$$'

drift: export DRIFT = all
drift: prepare
	$(SCENARIO) '^TestDrift$$'

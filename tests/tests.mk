# Tests: unit, golden, corrupt, cli and form need no privileges; live (but full*.py) needs root, KVM and
# BPF, and says so where it has them not. The live ones run on nested hosts (tests/vm), too: check has one of these,
# MATRIX=hosts, check-vm and MATRIX=all have them all.

include tests/guests/guests.mk
include tests/guests/aarch64/aarch64.mk
-include tests/formats.mk
-include tests/bench/bench.mk

T := $(B)/tests

unit_src   := $(wildcard tests/unit/test_*.c)
unit_tests := $(unit_src:tests/unit/%.c=$(T)/unit/%)
live_c     := $(patsubst tests/live/%.c,$(T)/live/%,$(wildcard tests/live/agent_*.c))
live_made  := $(addprefix $(T)/live/,cli_guest.bin four four_static four_static_pie churn_attach)

# All that a test can do on nested hosts, though it takes as long again.
TEST_ALL := $(filter all,$(MATRIX))
export B TEST_ALL

agent_objects := $(filter-out $(B)/agent/user/agent.o,$(agent_obj))

$(T)/unit/%: $(B)/tests/unit/%.o $(B)/libuser.a $(B)/libreplay.a $(B)/libformats.a $(agent_objects)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o %.a,$^) $(USER_LIBS) -lcmocka -ljansson
# The other end of the rings.
$(T)/unit/test_rings: $(B)/agent/user/plugin/producer.o
$(T)/live/%: $(B)/tests/live/%.o $(B)/libuser.a $(B)/libformats.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o %.a,$^) $(USER_LIBS)
$(T)/live/cli_guest.bin: tests/live/cli_guest.S
	@mkdir -p $(@D)
	$(CC) -m32 -c -o $(@:.bin=.o) $<
	objcopy -O binary -j .text $(@:.bin=.o) $@
$(T)/live/four: tests/live/four.c
	@mkdir -p $(@D)
	$(CC) -o $@ $<
$(T)/live/four_static: tests/live/four.c
	@mkdir -p $(@D)
	$(CC) -static -o $@ $<
$(T)/live/four_static_pie: tests/live/four.c
	@mkdir -p $(@D)
	$(CC) -static-pie -o $@ $<
.SECONDARY: $(unit_src:%.c=$(B)/%.o) $(patsubst tests/live/%.c,$(B)/tests/live/%.o,$(wildcard tests/live/agent_*.c))

.PHONY: deps test-deps demo check check-unit check-live check-vm check-form check-layers unit-tests
deps:
	@sh tests/deps.sh
test-deps:
	@sh tests/deps.sh test vm
demo: deps
	@$(MAKE) --no-print-directory all guests
	@sh tests/demo.sh
unit-tests: $(unit_tests) $(format_tests)

logic_tests := $(unit_tests) $(format_tests) $(wildcard tests/cli/*.sh)
check_plain := tests/check_form.sh $(logic_tests)
check_vm    := $(wildcard tests/vm/test_*.sh)
# These start a nested host themselves.
boots_live  := tests/live/linux_pages.py
check_boots := $(check_vm) $(boots_live)
check_live  := $(live_c) $(wildcard tests/live/*.sh) \
	$(filter-out tests/live/live.py $(boots_live),$(wildcard tests/live/*.py))
# A guest under TCG does not depend on the host: these are for "here" alone.
check_tcg   := tests/live/full.py tests/live/full_arm.py
check_kvm   := $(filter-out $(check_tcg),$(check_live))

# HOST or HOST:npt=0 for tests/vm/run. One build of ours is tested on all of them.
nested_hosts := 6.12 6.1 6.12:npt=0
hosts_all    := here $(nested_hosts)
hosts_one    := here $(firstword $(nested_hosts))
hosts        := $(if $(filter all hosts,$(MATRIX)),$(hosts_all),$(hosts_one))

# `make check` runs what depends on the host on one nested host, MATRIX=hosts on each of them. The rest
# (the command line's tests, the agent's at SeaBIOS and amid losses, the answers' honesty) takes as long
# again, and is run there by MATRIX=all and check-vm.
nested_first := $(filter %/agent_vmm %/agent_watch %/agent_launch %/agent_migrate,$(live_c)) \
	$(patsubst %,tests/live/%.py,tables step devices exact observe vhost smp crash churn linux)
nested_live  := $(if $(filter all,$(MATRIX)),$(check_kvm),$(nested_first))

# Everything is built first, by a make that sees the headers which deps installed.
check: test-deps
	@$(MAKE) --no-print-directory check-all
check-vm: test-deps
	@$(MAKE) --no-print-directory check-nested MATRIX=all
.PHONY: check-all check-nested
check-all: all guests guests-aarch64 unit-tests $(live_c) $(live_made)
	@tests/vm/matrix "$(hosts)" "$(check_plain) tests/check_build.sh $(check_live)" "$(check_boots)" "$(nested_live)"
check-nested: all guests $(live_c) $(live_made)
	@tests/vm/matrix "$(nested_hosts)" "" "" "$(check_kvm)"
# By tests/check_build.sh, with B and EXTRA_CFLAGS set.
.PHONY: check-sanitized
check-sanitized: all unit-tests
	@sh tests/run.sh $(logic_tests)
check-unit: all unit-tests
	@sh tests/run.sh $(check_plain)
check-live: all guests guests-aarch64 $(live_c) $(live_made)
	@sh tests/run.sh $(check_live) $(boots_live)
check-form: all
	@sh tests/check_form.sh
check-layers:
	@sh tests/check_layers.sh

# Tests: unit, golden, corrupt, cli and form need no privileges; live needs root, KVM and BPF, and says
# so where it has them not.

include tests/guests/guests.mk
-include tests/formats.mk
-include tests/bench/bench.mk

T := $(B)/tests

unit_src   := $(wildcard tests/unit/test_*.c)
unit_tests := $(unit_src:tests/unit/%.c=$(T)/unit/%)
live_c     := $(patsubst tests/live/%.c,$(T)/live/%,$(wildcard tests/live/agent_*.c))


export B

agent_objects := $(filter-out $(B)/agent/user/agent.o,$(agent_obj))

$(T)/unit/%: $(B)/tests/unit/%.o $(B)/libuser.a $(B)/libreplay.a $(B)/libformats.a $(agent_objects)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o %.a,$^) $(USER_LIBS) -lcmocka -ljansson
$(T)/live/%: $(B)/tests/live/%.o $(B)/libuser.a $(B)/libformats.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o %.a,$^) $(USER_LIBS)
.SECONDARY: $(unit_src:%.c=$(B)/%.o) $(patsubst tests/live/%.c,$(B)/tests/live/%.o,$(wildcard tests/live/agent_*.c))

.PHONY: deps test-deps demo check check-unit check-live check-form check-layers unit-tests
deps:
	@sh tests/deps.sh
test-deps:
	@sh tests/deps.sh test
demo: deps
	@$(MAKE) --no-print-directory all guests
	@sh tests/demo.sh
unit-tests: $(unit_tests) $(format_tests)

logic_tests := $(unit_tests) $(format_tests) $(wildcard tests/cli/*.sh)
check_plain := tests/check_form.sh $(logic_tests)
check_live  := $(live_c) $(wildcard tests/live/*.sh) $(filter-out tests/live/live.py,$(wildcard tests/live/*.py))

# Everything is built first, by a make that sees the headers which deps installed.
check: test-deps
	@$(MAKE) --no-print-directory check-all
.PHONY: check-all
check-all: all guests unit-tests $(live_c)
	@sh tests/run.sh $(check_plain) tests/check_build.sh $(check_live)
# By tests/check_build.sh, with B and EXTRA_CFLAGS set.
.PHONY: check-sanitized
check-sanitized: all unit-tests
	@sh tests/run.sh $(logic_tests)
check-unit: all unit-tests
	@sh tests/run.sh $(check_plain)
check-live: all guests $(live_c)
	@sh tests/run.sh $(check_live)
check-form: all
	@sh tests/check_form.sh
check-layers:
	@sh tests/check_layers.sh

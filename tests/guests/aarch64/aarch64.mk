# aarch64 test guests, for qemu-system-aarch64 -M virt. Comes after guests.mk.
#
#	$(G)/aarch64/NAME.elf	for -kernel; has DWARF; addresses are guest-physical
#
# `make guests-aarch64` builds them all, and fails where there is no cross compiler.

A      := $(G)/aarch64
A64_CC ?= aarch64-linux-gnu-gcc
A64_NM ?= aarch64-linux-gnu-nm

a64_flags := $(filter-out -fcf-protection=none,$(guest_flags)) -march=armv8-a

.PHONY: guests-aarch64 check-guests-aarch64 a64-compiler
guests-aarch64:

a64-compiler:
	@command -v $(A64_CC) >/dev/null || { echo "vmblame: no $(A64_CC) for the aarch64 guests:" \
		"Debian's gcc-aarch64-linux-gnu" >&2; exit 1; }

$(A)/%.o: tests/guests/aarch64/%.c | a64-compiler
	@mkdir -p $(@D)
	$(A64_CC) $(a64_flags) -c -o $@ $<
$(A)/%.o: tests/guests/aarch64/%.S | a64-compiler
	@mkdir -p $(@D)
	$(A64_CC) $(a64_flags) -c -o $@ $<

# stores: every kind of store, and what it stores. NAME.truth is what a recording of ranges A and B
# must hold on a processor without LSE (cortex-a57), NAME-lse.truth on one with it (max); .range-a
# and .range-b what the ranges hold at the end.
a64_stores := stores stores-small
a64_operations_stores       := 20000
a64_operations_stores-small := 2000

guests-aarch64: $(foreach n,$(a64_stores),$(A)/$(n).elf $(A)/$(n).truth $(A)/$(n)-lse.truth) \
		$(A)/stores.addr

$(A)/%-main.o: tests/guests/aarch64/stores.c tests/guests/aarch64/aarch64.mk | a64-compiler
	@mkdir -p $(@D)
	$(A64_CC) $(a64_flags) -DSTORES_OPERATIONS=$(a64_operations_$*) -c -o $@ $<
$(a64_stores:%=$(A)/%.elf): $(A)/%.elf: $(A)/%-main.o \
		$(addprefix $(A)/,entry.o guest.o stores_model.o stores_plan.o stores_ops.o) \
		tests/guests/aarch64/guest.ld
	$(A64_CC) -nostdlib -static -Wl,--build-id=none,-z,noexecstack \
		-T tests/guests/aarch64/guest.ld -o $@ $(filter %.o,$^)
$(A)/stores_truth: $(addprefix $(G)/host/aarch64/,stores_truth.o stores_model.o stores_plan.o)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^
a64_truth = $(A64_NM) $< | $(A)/stores_truth $(1) -a $(@:.truth=.range-a) -b $(@:.truth=.range-b) \
	$(a64_operations_$*) > $@
$(a64_stores:%=$(A)/%.truth): $(A)/%.truth: $(A)/%.elf $(A)/stores_truth
	$(call a64_truth)
$(a64_stores:%=$(A)/%-lse.truth): $(A)/%-lse.truth: $(A)/%.elf $(A)/stores_truth
	$(call a64_truth,-l)
$(A)/stores.addr: tests/guests/aarch64/stores.h tests/guests/stores_layout.h
	@mkdir -p $(@D)
	printf '%s\n' 'printf "A 0x%x +%d\n" $$((RAM_GPA + RANGE_A_GPA)) $$((RANGE_A_BYTES))' \
		'printf "B 0x%x +%d\n" $$((RAM_GPA + RANGE_B_GPA)) $$((RANGE_B_BYTES))' | \
		$(CC) -E -P -D__ASSEMBLER__ -imacros $< -xc - | sh > $@ && test -s $@

# Each on plain QEMU, untraced: does it do what its truth says?
check-guests-aarch64: guests-aarch64
	$(PYTHON) tests/guests/aarch64/check_stores.py $(A)

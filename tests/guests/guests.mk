# Test guests: small disk images built from source, each with an ELF that has DWARF.
#
#	$(B)/guests/NAME.img	boot sector, kernel, payload: a raw disk (see README.md)
#	$(B)/guests/NAME.elf	the same code with symbols; addresses are guest-physical
#
# `make guests` builds them all. Set GUEST_CC to build them with another compiler.

G        := $(B)/guests
GUEST_CC ?= $(CC)
OBJCOPY  ?= objcopy

guest_flags := -std=gnu11 -O2 -g -ffreestanding -fno-pic -fno-pie -fno-stack-protector \
	-fno-asynchronous-unwind-tables -fno-omit-frame-pointer -fno-optimize-sibling-calls \
	-fcf-protection=none -mgeneral-regs-only -Wall -Wextra -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wpointer-arith -ffile-prefix-map=$(CURDIR)=. -MMD -MP \
	$(if $(WERROR),-Werror)
guest_flags32 := $(guest_flags) -m32 -march=i686
guest_flags64 := $(guest_flags) -m64 -mno-red-zone

.PHONY: guests
guests:
.SECONDARY:

$(G)/obj32/%.o: tests/guests/%.c
	@mkdir -p $(@D)
	$(GUEST_CC) $(guest_flags32) -c -o $@ $<
$(G)/obj32/%.o: tests/guests/%.S
	@mkdir -p $(@D)
	$(GUEST_CC) $(guest_flags32) -c -o $@ $<
$(G)/obj64/%.o: tests/guests/%.c
	@mkdir -p $(@D)
	$(GUEST_CC) $(guest_flags64) -c -o $@ $<
$(G)/obj64/%.o: tests/guests/%.S
	@mkdir -p $(@D)
	$(GUEST_CC) $(guest_flags64) -c -o $@ $<
$(G)/host/%.o: tests/guests/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

guest_link = $(LD) -nostdlib --build-id=none -z noexecstack -T tests/guests/guest.ld -o $@ $(filter %.o,$^)
guest_base32 := $(addprefix $(G)/obj32/,boot.o entry.o guest.o)
guest_base64 := $(addprefix $(G)/obj64/,boot.o entry.o guest.o)

# A disk is whole mebibytes: SeaBIOS does not boot from one that has less than one cylinder.
guest_image = cat $(filter %.bin %.payload,$^) > $@ && truncate -s %1M $@

# What the linker made, as it lies on the disk.
$(G)/%.bin: $(G)/%.elf
	$(OBJCOPY) -O binary $< $@

# The ranges worth watching, from the header that the guest has them from: "NAME GPA +BYTES" a line.
$(G)/%.addr: tests/guests/%_layout.h
	@mkdir -p $(@D)
	printf '%b' '$(addr_$*)' | $(CC) -E -P -undef -imacros $< -xc - | sed '/^ *$$/d' > $@

# console: case 1, the demo. module.good is what lies on the disk, module.bad what the bug makes of
# it in RAM.
guests: $(G)/console.img $(G)/console.addr $(G)/module.bad
addr_console := module MODULE_GPA +MODULE_BYTES\n
$(G)/console.elf: $(guest_base32) $(addprefix $(G)/obj32/,console.o cells.o disk.o) tests/guests/guest.ld
	$(guest_link) -m elf_i386
$(G)/console.img: $(G)/console.bin $(G)/module.payload tests/guests/guests.mk
	$(guest_image)
$(G)/mkmodule: $(G)/host/mkmodule.o
	$(CC) $(LDFLAGS_ALL) -o $@ $^
$(G)/mkpayload: $(G)/host/mkpayload.o
	$(CC) $(LDFLAGS_ALL) -o $@ $^
$(G)/module.good: $(G)/mkmodule
	$< $@ $(G)/module.bad
$(G)/module.bad: $(G)/module.good ;
$(G)/module.payload: $(G)/module.good $(G)/mkpayload
	$(G)/mkpayload $< module.good > $@

# stores: 110,000 stores and their ground truth. NAME.table drives NAME.img; NAME.truth is what a
# ledger must hold, NAME.range-a and NAME.range-b what the ranges hold at the end.
stores_names := stores stores-middle stores-small stores-loop stores-crash
stores_args_stores       := -n 110000
stores_args_stores-middle := -n 15000
stores_args_stores-small := -n 2000
stores_args_stores-loop  := -n 100000 -e 50 -d 8000
stores_args_stores-crash := -n 40000 -e 50 -d 8000

guests: $(foreach n,$(stores_names),$(G)/$(n).img $(G)/$(n).truth) $(G)/stores.addr
addr_stores := A RANGE_A_GPA +RANGE_A_BYTES\nB RANGE_B_GPA +RANGE_B_BYTES\n

$(G)/stores_gen: $(G)/host/stores_gen.o $(G)/host/stores_model.o
	$(CC) $(LDFLAGS_ALL) -o $@ $^
$(G)/stores_truth: $(G)/host/stores_truth.o $(G)/host/stores_model.o
	$(CC) $(LDFLAGS_ALL) -o $@ $^ -lelf
$(G)/stores.elf: $(guest_base64) $(addprefix $(G)/obj64/,stores.o stores_ops.o disk.o) \
		tests/guests/guest.ld
	$(guest_link) -m elf_x86_64
$(stores_names:%=$(G)/%.table): $(G)/%.table: $(G)/stores_gen tests/guests/guests.mk
	$< $(stores_args_$*) > $@
$(stores_names:%=$(G)/%.payload): $(G)/%.payload: $(G)/%.table $(G)/mkpayload
	$(G)/mkpayload $< $* > $@
$(stores_names:%=$(G)/%.img): $(G)/%.img: $(G)/stores.bin $(G)/%.payload tests/guests/guests.mk
	$(guest_image)
$(stores_names:%=$(G)/%.truth): $(G)/%.truth: $(G)/%.table $(G)/stores_truth $(G)/stores.elf
	$(G)/stores_truth -a $(G)/$*.range-a -b $(G)/$*.range-b $< $(G)/stores.elf > $@
$(G)/%.range-a $(G)/%.range-b: $(G)/%.truth ;

# mmioloop: stores in a tight loop, to a device's address with nothing behind it, or to RAM.
# Twelve bytes from 0x1f0 of the image: address, count, pause (mmioloop.c).
MMIOLOOP_COUNT ?= 200000
mmioloop_gpa_mmioloop     := 0xd0000000
mmioloop_gpa_mmioloop-ram := 0x1900000

guests: $(G)/mmioloop.img $(G)/mmioloop-ram.img

$(G)/obj32/%-loop.o: tests/guests/mmioloop.c tests/guests/guests.mk
	@mkdir -p $(@D)
	$(GUEST_CC) $(guest_flags32) -DMMIOLOOP_GPA=$(mmioloop_gpa_$*) \
		-DMMIOLOOP_COUNT=$(MMIOLOOP_COUNT) -c -o $@ $<
$(G)/mmioloop.elf $(G)/mmioloop-ram.elf: $(G)/%.elf: $(guest_base32) $(G)/obj32/%-loop.o \
		tests/guests/guest.ld
	$(guest_link) -m elf_i386
$(G)/mmioloop.img $(G)/mmioloop-ram.img: $(G)/%.img: $(G)/%.bin tests/guests/guests.mk
	$(guest_image)

# vq: disk and processor write one page in turns. hostile: what a watched page does not bear well.
guests: $(G)/vq.img $(G)/hostile.img $(G)/vq.addr $(G)/hostile.addr
addr_vq      := page VQ_PAGE_GPA +VQ_PAGE_BYTES\n
addr_hostile := stack STACK_GPA +4096\nclock CLOCK_GPA +4096\nreal REAL_STACK_GPA +4096\n

$(G)/vq.elf: $(guest_base32) $(addprefix $(G)/obj32/,vq.o disk.o) tests/guests/guest.ld
	$(guest_link) -m elf_i386
$(G)/vq.img: $(G)/vq.bin $(G)/module.payload tests/guests/guests.mk
	$(guest_image)
$(G)/hostile.elf: $(guest_base32) $(addprefix $(G)/obj32/,hostile.o hostile_ops.o) \
		tests/guests/guest.ld
	$(guest_link) -m elf_i386
$(G)/hostile.img: $(G)/hostile.bin tests/guests/guests.mk
	$(guest_image)

# smp: several vCPUs at one word. Twelve bytes from 0x1f0 of the image say how many: smp.c.
guests: $(G)/smp.img $(G)/smp.addr
addr_smp := word WORD_GPA +16\nflag FLAG_GPA +8\n

$(G)/smp.elf: $(guest_base64) $(addprefix $(G)/obj64/,smp.o smp_ops.o) tests/guests/guest.ld
	$(guest_link) -m elf_x86_64
$(G)/smp.img: $(G)/smp.bin tests/guests/guests.mk
	$(guest_image)

# wide: SSE, AVX, stacks, strings into watched pages. Bit n from byte 0x1f0 of the image on leaves out
# row n of wide_ops.def.
guests: $(G)/wide.img $(G)/wide.addr
addr_wide := watched WATCHED_GPA +WATCHED_BYTES\n

$(G)/wide.elf: $(guest_base64) $(addprefix $(G)/obj64/,wide.o wide_cpu.o wide_ops.o) \
		tests/guests/guest.ld
	$(guest_link) -m elf_x86_64
$(G)/wide.img: $(G)/wide.bin tests/guests/guests.mk
	$(guest_image)

# net: receives one frame from a virtio-net card, which vhost may serve.
guests: $(G)/net.img $(G)/net.addr
addr_net := buffers NET_BUFFERS_GPA +NET_BUFFERS_BYTES\nrings NET_RINGS_GPA +NET_RINGS_BYTES\nstamp NET_STAMP_GPA +8\n
$(G)/net.elf: $(guest_base32) $(G)/obj32/net.o tests/guests/guest.ld
	$(guest_link) -m elf_i386
$(G)/net.img: $(G)/net.bin tests/guests/guests.mk
	$(guest_image)

# balloon: gives pages to a virtio balloon, and then does nothing more.
guests: $(G)/balloon.img $(G)/balloon.addr
addr_balloon := pages BALLOON_PAGES_GPA +BALLOON_PAGES_BYTES\ngo BALLOON_GO_GPA +4\nfree BALLOON_FREE_GPA +BALLOON_FREE_BYTES\n
$(G)/balloon.elf: $(guest_base32) $(G)/obj32/balloon.o tests/guests/guest.ld
	$(guest_link) -m elf_i386
$(G)/balloon.img: $(G)/balloon.bin tests/guests/guests.mk
	$(guest_image)

# tables: page tables in watched pages, each used for the first time by another instruction.
guests: $(G)/tables.img $(G)/tables.addr
addr_tables := tables TABLES_GPA +TABLES_BYTES\n
$(G)/tables.elf: $(guest_base64) $(G)/obj64/tables.o tests/guests/guest.ld
	$(guest_link) -m elf_x86_64
$(G)/tables.img: $(G)/tables.bin tests/guests/guests.mk
	$(guest_image)

# frames: interrupts on stacks that are watched.
guests: $(G)/frames.img $(G)/frames.addr
addr_frames := stacks FRAMES_GPA +FRAMES_BYTES\n
$(G)/frames.elf: $(guest_base32) $(addprefix $(G)/obj32/,frames.o frames_ops.o) tests/guests/guest.ld
	$(guest_link) -m elf_i386
$(G)/frames.img: $(G)/frames.bin tests/guests/guests.mk
	$(guest_image)

# tally: each thing that a probe may tell of, a known number of times.
guests: $(G)/tally.img $(G)/tally.addr
addr_tally := watched WATCHED_GPA +4096\n

$(G)/tally.elf: $(guest_base32) $(addprefix $(G)/obj32/,tally.o disk.o) tests/guests/guest.ld
	$(guest_link) -m elf_i386
$(G)/tally.img: $(G)/tally.bin tests/guests/guests.mk
	$(guest_image)

# dirty: pages dirtied at a pace, as lines on the serial port ask for. It needs 512 MiB.
guests: $(G)/dirty.img

$(G)/dirty.elf: $(guest_base32) $(G)/obj32/dirty.o tests/guests/guest.ld
	$(guest_link) -m elf_i386
$(G)/dirty.img: $(G)/dirty.bin tests/guests/guests.mk
	$(guest_image)

# Each guest on plain QEMU, untraced: does it do what its truth says?
.PHONY: check-guests
check-guests: guests
	$(PYTHON) tests/guests/check.py $(G)

# vmblame: git blame for the memory of a virtual machine.
#
#	make		build/vmblame, the agent beside it
#	make demo	record a failing boot and name the writer
#	make check	every test that this machine can run, the live ones on a nested host, too
#			MATRIX=hosts: on every nested host (tests/vm); MATRIX=all: all of them there
#	make check-vm	every live test on every nested host
#	make bench	the figures, as ratios, into build/bench.txt
#	make fuzz	fuzz the reader for FUZZ_SECONDS
#	make deps	install what is missing (Debian, Ubuntu)

B       := build
CC      ?= gcc
CLANG   ?= clang
BPFTOOL ?= $(shell PATH=$$PATH:/usr/sbin:/sbin command -v bpftool)
PYTHON  ?= /usr/bin/python3
PREFIX  ?= /usr/local

VERSION := 0.1.0
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
HARDEN  := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE -fcf-protection
CFLAGS  ?= -O2 -g
ALL_CFLAGS := -std=gnu11 $(CFLAGS) $(WARN) $(HARDEN) -D_GNU_SOURCE -DVMBLAME_VERSION='"$(VERSION)"' \
	-I. -I$(B)/gen -MMD -MP $(EXTRA_CFLAGS)
ifdef WERROR
ALL_CFLAGS += -Werror
endif
LDFLAGS_ALL := -pie -Wl,-z,relro,-z,now $(LDFLAGS) $(EXTRA_CFLAGS)

FORMATS_LIBS := -lzstd -lxxhash -lroaring
USER_LIBS    := -lbpf -ldw -lelf -lcap -lZydis $(FORMATS_LIBS) -lpthread

formats_src := $(wildcard formats/*.c)
replay_src  := $(wildcard replay/*.c)
# Without BTF there are no BPF programs, and of the modes full alone.
BTF         ?= $(wildcard /sys/kernel/btf/vmlinux)
user_src    := $(filter-out user/agent.c user/agent_%.c $(if $(BTF),user/source_none.c,user/source_bpf.c), \
	$(wildcard user/*.c))
agent_src   := $(wildcard user/agent.c user/agent_*.c)
plugin_src  := $(wildcard user/plugin/*.c)

formats_obj := $(formats_src:%.c=$(B)/%.o)
replay_obj  := $(replay_src:%.c=$(B)/%.o)
user_obj    := $(user_src:%.c=$(B)/%.o)
agent_obj   := $(agent_src:%.c=$(B)/agent/%.o)
plugin_obj  := $(plugin_src:%.c=$(B)/agent/%.o)

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all
all: $(B)/vmblame $(B)/libvmblame-agent.so $(B)/vmblame-plugin.so

$(B)/libformats.a: $(formats_obj)
$(B)/libreplay.a: $(replay_obj)
$(B)/libuser.a: $(filter-out $(B)/user/main.o,$(user_obj))
%.a:
	@rm -f $@
	$(AR) rcs $@ $^

$(B)/vmblame: $(B)/user/main.o $(B)/libuser.a $(B)/libreplay.a $(B)/libformats.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(USER_LIBS)

# The agent is loaded into other people's processes: nothing but libc, nothing exported but ioctl.
$(B)/libvmblame-agent.so: $(agent_obj)
	$(CC) -shared -Wl,-z,relro,-z,now -Wl,-soname,libvmblame-agent.so $(EXTRA_CFLAGS) -o $@ $^ -ldl -lpthread

# As is the plugin, into QEMU; only QEMU knows the functions of its that it calls.
$(B)/vmblame-plugin.so: $(plugin_obj)
	$(CC) -shared -Wl,-z,relro,-z,now -Wl,-soname,vmblame-plugin.so $(EXTRA_CFLAGS) -o $@ $^ -ldl

$(B)/agent/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fPIC -fvisibility=hidden -c -o $@ $<

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

# BPF: all groups of probes are one object, and that the skeleton.
$(B)/gen/vmlinux.h:
	@mkdir -p $(@D)
	@test -r /sys/kernel/btf/vmlinux || { echo "vmblame: no /sys/kernel/btf/vmlinux: the BPF programs are \
	built from the running kernel's BTF (CONFIG_DEBUG_INFO_BTF)" >&2; exit 1; }
	$(BPFTOOL) btf dump file /sys/kernel/btf/vmlinux format c > $@
$(B)/gen/vmblame.bpf.o: bpf/vmblame.bpf.c $(wildcard bpf/*.h) formats/event.h formats/events.def \
		user/agent.h $(B)/gen/vmlinux.h
	$(CLANG) -target bpf -D__TARGET_ARCH_x86 -mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter \
		-Wno-missing-declarations -I$(B)/gen -Iformats -c -o $@ $<
$(B)/gen/vmblame.skel.h: $(B)/gen/vmblame.bpf.o
	$(BPFTOOL) gen skeleton $< name vmblame_bpf > $@
$(user_obj): | $(B)/gen/vmblame.skel.h

-include $(wildcard $(B)/*/*.d $(B)/*/*/*.d $(B)/*/*/*/*.d)
include tests/tests.mk

.PHONY: clean
clean:
	rm -rf $(B)

# SPDX-License-Identifier: GPL-2.0-or-later
# Tests of formats/: golden traces, corruption, fuzzing; generated reference.

# Programs that tests/run.sh runs; those that are scripts depend on what they need.
format_tests := $(B)/tests/corrupt/test_corrupt tests/golden/run.sh
format_tests += tests/golden/decoder.sh
tests/golden/run.sh: $(B)/tests/gen/dump_trace $(B)/tests/gen/gen_events
tests/golden/decoder.sh: $(B)/tests/gen/gen_synthetic $(B)/tests/gen/gen_golden

$(B)/tests/gen/%: tests/gen/%.c $(B)/libformats.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS_ALL) -o $@ $< $(B)/libformats.a $(FORMATS_LIBS)
$(B)/tests/gen/gen_golden: tests/golden/gen_golden.c $(B)/libformats.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS_ALL) -o $@ $< $(B)/libformats.a $(FORMATS_LIBS)
$(B)/tests/gen/gen_corpus: tests/fuzz/gen_corpus.c $(B)/libformats.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS_ALL) -o $@ $< $(B)/libformats.a $(FORMATS_LIBS)
$(B)/tests/gen/gen_synthetic: tests/bench/gen_synthetic.c $(B)/libformats.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS_ALL) -o $@ $< $(B)/libformats.a $(FORMATS_LIBS)
$(B)/tests/corrupt/test_corrupt: tests/corrupt/test_corrupt.c tests/corrupt/corrupt.def $(B)/libformats.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS_ALL) -o $@ $< $(B)/libformats.a $(FORMATS_LIBS) -lcmocka

.PHONY: golden-update fuzz fuzz-corpus docs/events.md
docs/events.md: $(B)/tests/gen/gen_events
	$< > $@

# Only by hand, and only when the format may break: removes the old traces first.
golden-update: $(B)/tests/gen/gen_golden $(B)/tests/gen/dump_trace
	@printf 'This replaces the golden traces. Type "replace": '; read answer; test "$$answer" = replace
	rm -f tests/golden/*.vmb
	$(B)/tests/gen/gen_golden tests/golden
	B=$(B) tests/golden/run.sh --update

# Seeds: the golden traces with their blocks open to mutation.
fuzz-corpus: $(B)/tests/gen/gen_corpus
	@mkdir -p tests/fuzz/corpus
	for t in tiny stos kinds stores versions; do \
		$< tests/golden/$$t.vmb tests/fuzz/corpus/$$t-chunks.vmb chunks && \
		$< tests/golden/$$t.vmb tests/fuzz/corpus/$$t-index.vmb index || exit 1; \
	done
	cp tests/golden/tiny.vmb tests/golden/cut.vmb tests/fuzz/corpus/

FUZZ_SECONDS ?= 60
FUZZ_FLAGS   := -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
$(B)/tests/fuzz/fuzz_reader: tests/fuzz/fuzz_reader.c $(formats_src) $(wildcard formats/*.h) formats/events.def
	@mkdir -p $(@D)
	$(CLANG) -std=gnu11 -g -D_GNU_SOURCE -I. $(WARN) $(FUZZ_FLAGS) -o $@ $(filter %.c,$^) $(FORMATS_LIBS)

# New findings go to the build directory; the committed seeds stay as they are.
fuzz: $(B)/tests/fuzz/fuzz_reader
	@mkdir -p $(B)/fuzz-corpus
	cd $(B)/tests/fuzz && ./fuzz_reader -max_total_time=$(FUZZ_SECONDS) -timeout=20 -max_len=20000 \
		$(abspath $(B))/fuzz-corpus $(abspath tests/fuzz/corpus)

# make bench: cost, size and speed next to their targets, into $(B)/bench.txt; needs root and about
# 30 minutes of a quiet machine. Performance is no pass or fail: only what cannot be measured fails.
#
#	make bench BENCH_PARTS="cost watch"	of: cost size who watch full pages
#
# BENCH_ROUNDS, BENCH_STORES (cost), BENCH_SIZE_ROUNDS, BENCH_EVENTS, BENCH_WHO_ROUNDS, BENCH_PAIRS
# and BENCH_TRAPPED (watch), ROUNDS and SCALE (full; SCALE=0 leaves the trace ten times as large out,
# which takes 4 GB below TMPDIR), BENCH_PAGES_ROUNDS, BENCH_PAGES_SECONDS and BENCH_PAGES_HOST (pages) in
# the environment change how much is done.

bench_plain := $(addprefix $(B)/tests/bench/,mmio_trigger until_text run_cold paced_reader)
bench_stores := $(addprefix $(B)/tests/bench/,stores_codec stores_pick stores_scale stores_zstd)
bench_pages := $(addprefix $(B)/tests/bench/,pages_look pages_diff)
bench_helpers := $(bench_plain) $(bench_stores) $(bench_pages) $(B)/tests/bench/gen_synthetic \
	$(B)/tests/bench/store_plugin.so

$(bench_plain): $(B)/tests/bench/%: $(B)/tests/bench/%.o
	$(CC) $(LDFLAGS_ALL) -o $@ $^
$(B)/tests/bench/gen_synthetic: $(B)/tests/bench/gen_synthetic.o $(B)/libformats.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(FORMATS_LIBS) -lpthread
$(bench_stores): $(B)/tests/bench/%: $(B)/tests/bench/%.o $(B)/tests/bench/stores_each.o \
		$(B)/tests/bench/stores_again.o $(B)/libformats.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(FORMATS_LIBS)
$(bench_pages): $(B)/tests/bench/%: $(B)/tests/bench/%.o $(B)/tests/bench/stores_each.o \
		$(B)/libformats.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(FORMATS_LIBS)
$(B)/tests/bench/store_plugin.so: $(B)/agent/tests/bench/store_plugin.o
	$(CC) -shared -Wl,-z,relro,-z,now $(EXTRA_CFLAGS) -o $@ $^ -ldl

.PHONY: bench bench-run
bench:
	@sh tests/deps.sh bench vm
	@$(MAKE) --no-print-directory bench-run
bench-run: all $(bench_helpers) $(B)/guests/mmioloop-ram.img $(B)/guests/dirty.img
	@B=$(B) sh tests/bench/bench.sh $(BENCH_PARTS)

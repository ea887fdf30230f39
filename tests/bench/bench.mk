# make bench: cost, size and speed next to their targets, into $(B)/bench.txt; needs root and about
# 6 minutes of a quiet machine. Performance is no pass or fail: only what cannot be measured fails.
#
#	make bench BENCH_PARTS="cost watch"	of: cost size who watch
#
# BENCH_ROUNDS, BENCH_STORES (cost), BENCH_SIZE_ROUNDS, BENCH_EVENTS, BENCH_WHO_ROUNDS, BENCH_PAIRS
# and BENCH_TRAPPED (watch) in the environment change how much is done.

bench_helpers := $(addprefix $(B)/tests/bench/,mmio_trigger until_text run_cold gen_synthetic)

$(filter-out %/gen_synthetic,$(bench_helpers)): $(B)/tests/bench/%: $(B)/tests/bench/%.o
	$(CC) $(LDFLAGS_ALL) -o $@ $^
$(B)/tests/bench/gen_synthetic: $(B)/tests/bench/gen_synthetic.o $(B)/libformats.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(FORMATS_LIBS) -lpthread

.PHONY: bench bench-run
bench:
	@sh tests/deps.sh bench
	@$(MAKE) --no-print-directory bench-run
bench-run: all $(bench_helpers) $(B)/guests/mmioloop-ram.img
	@B=$(B) sh tests/bench/bench.sh $(BENCH_PARTS)

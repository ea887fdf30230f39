# make bench: cost, size and speed next to their targets, into $(B)/bench.txt. Never a pass or a fail.
# BENCH_PARTS picks parts: cost size who watch.

bench_helpers := $(addprefix $(B)/tests/bench/,mmio_trigger until_text run_cold gen_synthetic)

$(filter-out %/gen_synthetic,$(bench_helpers)): $(B)/tests/bench/%: $(B)/tests/bench/%.o
	$(CC) $(LDFLAGS_ALL) -o $@ $^
$(B)/tests/bench/gen_synthetic: $(B)/tests/bench/gen_synthetic.o $(B)/libformats.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(FORMATS_LIBS) -lpthread

.PHONY: bench bench-helpers
bench-helpers: $(bench_helpers)
bench: all bench-helpers $(B)/guests/mmioloop-ram.img
	B=$(B) tests/bench/bench.sh $(BENCH_PARTS)

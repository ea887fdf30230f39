// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The event table as data: what the codec and the printers rely on.
 */
#include "formats/desc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "formats/model.h"

static void test_kinds_known(void **state)
{
	(void)state;
	assert_null(event_desc(0));
	assert_null(event_desc(EVENT_MAX));
	assert_null(event_desc(65535));
	for (unsigned k = 1; k < EVENT_MAX; k++) {
		const struct event_desc *d = event_desc(k);

		assert_non_null(d);
		assert_int_equal(d->kind, k);
		assert_true(d->nfields > 0);
		assert_true(d->stream < STREAM_MAX);
	}
}

static void test_fields_in_structure(void **state)
{
	(void)state;
	for (unsigned k = 1; k < EVENT_MAX; k++) {
		const struct event_desc *d = event_desc(k);
		size_t end = sizeof(struct event);

		for (unsigned i = 0; i < d->nfields; i++) {
			const struct field_desc *f = &d->fields[i];

			assert_true(f->off >= end);
			end = f->off + (size_t)f->width * f->max;
			assert_true(end <= d->size);
			assert_true((f->show == SHOW_ENUM) == (f->enum_names != NULL));
		}
	}
}

static void test_counts_before_arrays(void **state)
{
	(void)state;
	for (unsigned k = 1; k < EVENT_MAX; k++) {
		const struct event_desc *d = event_desc(k);

		for (unsigned i = 0; i < d->nfields; i++) {
			const struct field_desc *f = &d->fields[i];

			assert_true(f->count < (int)i);
			assert_true((f->count < 0) == (f->max == 1));
			if (f->count >= 0)
				assert_int_equal(d->fields[f->count].max, 1);
		}
	}
}

static void test_blob_is_last(void **state)
{
	(void)state;
	for (unsigned k = 1; k < EVENT_MAX; k++) {
		const struct event_desc *d = event_desc(k);

		for (unsigned i = 0; i < d->nfields; i++)
			if (d->fields[i].codec == CODEC_BLOB) {
				assert_int_equal(i, d->nfields - 1u);
				assert_int_equal(d->fields[i].width, 1);
			}
	}
}

/* The limits of model.h hold for every kind (model_init() asserts them). */
static void test_kinds_have_models(void **state)
{
	(void)state;
	for (unsigned k = 1; k < EVENT_MAX; k++) {
		struct model m;

		assert_int_equal(model_init(&m, k, false), 0);
		assert_true(m.plan.ncolumns > 0);
		model_free(&m);
	}
}

static void test_header_described(void **state)
{
	(void)state;
	assert_int_equal(event_header_nfields, 6);
	assert_string_equal(event_header_fields[0].name, "t_ns");
	assert_int_equal(event_header_fields[3].off, offsetof(struct event, kind));
}

static void test_range(void **state)
{
	struct event_mmio mmio = {.h.kind = EVENT_mmio, .gpa = 0x1000, .len = 4};
	struct event_content end = {.h.kind = EVENT_content, .gpa = UINT64_MAX - 1, .len = 4096};
	struct event_mark mark = {.h.kind = EVENT_mark};
	u64 gpa, stop;

	(void)state;
	assert_true(event_range(&mmio.h, &gpa, &stop));
	assert_int_equal(gpa, 0x1000);
	assert_int_equal(stop, 0x1004);
	assert_true(event_range(&end.h, &gpa, &stop));
	assert_true(stop == UINT64_MAX);
	assert_false(event_range(&mark.h, &gpa, &stop));
}

static void test_used_bytes(void **state)
{
	struct event_mmio mmio = {.h.kind = EVENT_mmio};
	struct event_version version = {.h.kind = EVENT_version, .len = 5};
	struct event_mark mark = {.h.kind = EVENT_mark, .name_len = 255};

	(void)state;
	assert_int_equal(event_used_bytes(&mmio.h, event_desc(EVENT_mmio)), sizeof(mmio));
	assert_int_equal(event_used_bytes(&version.h, event_desc(EVENT_version)),
			 offsetof(struct event_version, data) + 5);
	/* Not past its room, whatever it says. */
	assert_int_equal(event_used_bytes(&mark.h, event_desc(EVENT_mark)),
			 offsetof(struct event_mark, name) + sizeof(mark.name));
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(origin_name(ORIGIN_VCPU), "vcpu");
	assert_string_equal(why_name(WHY_NOT_WATCHED), "not-watched");
	assert_string_equal(stream_name(STREAM_CONTENT), "content");
	assert_null(origin_name(999));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds_known),
		cmocka_unit_test(test_fields_in_structure),
		cmocka_unit_test(test_counts_before_arrays),
		cmocka_unit_test(test_blob_is_last),
		cmocka_unit_test(test_kinds_have_models),
		cmocka_unit_test(test_header_described),
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_used_bytes),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

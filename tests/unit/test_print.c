// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Events as text and as JSON; the JSON emitter.
 */
#include "formats/print.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "tests/unit/random_event.h"

static char *text;
static size_t text_size;

static FILE *begin(void)
{
	free(text);
	text = NULL;
	FILE *f = open_memstream(&text, &text_size);

	assert_non_null(f);
	return f;
}

static const struct event_mmio mmio = {
	.h = {.t_ns = 1500000042, .tid = 7, .tseq = 3, .kind = EVENT_mmio, .vcpu = 1, .boot = 2},
	.gpa = 0xb8000,
	.len = 2,
	.write = 1,
	.done = MMIO_DONE_EXITED,
	.bytes = {0x20, 0x07},
	.rip = 0x3c7,
	.mode = CPU_MODE_REAL,
	.nret = 2,
	.ret = {0x10, 0x20},
};

static void test_text(void **state)
{
	FILE *f = begin();

	(void)state;
	print_event_text(f, &mmio.h, 42);
	fclose(f);
	assert_string_equal(text, "   1.500000042 #42 boot 2 vcpu 1 mmio gpa 0xb8000 len 2 write 1 "
				  "done exited bytes 2007 rip 0x3c7 cs_base 0x0 cr3 0x0 rsp 0x0 "
				  "rbp 0x0 cpl 0 mode real ret 0x10,0x20\n");
}

static void test_json(void **state)
{
	FILE *f = begin();

	(void)state;
	print_event_json(f, &mmio.h, 42);
	fclose(f);
	assert_string_equal(
		text,
		"{\"v\":1,\"seq\":42,\"event\":\"mmio\",\"t_ns\":1500000042,\"boot\":2,\"tid\":7,"
		"\"tseq\":3,\"vcpu\":1,\"gpa\":\"0xb8000\",\"len\":2,\"write\":1,"
		"\"done\":\"exited\",\"bytes\":\"2007\",\"rip\":\"0x3c7\",\"cs_base\":\"0x0\","
		"\"cr3\":\"0x0\",\"rsp\":\"0x0\",\"rbp\":\"0x0\",\"cpl\":0,\"mode\":\"real\","
		"\"ret\":[\"0x10\",\"0x20\"]}\n");
}

/* An event whose counts exceed their arrays must not make the printer read past them. */
static void test_hostile_count(void **state)
{
	struct event_mmio ev = mmio;
	struct event_mark mark = {.h = {.kind = EVENT_mark, .vcpu = VCPU_NONE}, .name_len = 255};

	(void)state;
	ev.len = ev.nret = ev.insn_len = 255;
	memset(mark.name, 0xff, sizeof(mark.name));
	FILE *f = begin();

	print_event_text(f, &ev.h, 1);
	print_event_json(f, &ev.h, 1);
	print_event_text(f, &mark.h, 1);
	print_event_json(f, &mark.h, 1);
	print_event_text(f, &(struct event){.kind = 999}, 1);
	print_event_json(f, &(struct event){.kind = 999}, 1);
	fclose(f);
	assert_non_null(strstr(text, "\\ufffd"));
	assert_non_null(strstr(text, "\"event\":999"));
	assert_null(strstr(text, "\"vcpu\":65535"));
}

/* Whatever is in an event, its JSON is JSON, on one line. */
static void test_json_parses(void **state)
{
	static union any_event ev[EVENT_MAX];
	u64 seed = 88172645463325252ull;

	(void)state;
	for (unsigned i = 0; i < 3000; i++) {
		const unsigned kind = 1 + i % (EVENT_MAX - 1);
		json_error_t err;

		random_event(&seed, kind, &ev[kind]);
		FILE *f = begin();

		print_event_json(f, &ev[kind].h, i);
		fclose(f);
		assert_ptr_equal(strchr(text, '\n'), text + text_size - 1);
		json_t *root =
			json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &err);

		assert_non_null(root);
		assert_string_equal(json_string_value(json_object_get(root, "event")),
				    event_desc(kind)->name);
		json_decref(root);
	}
}

static void test_emitter(void **state)
{
	FILE *f = begin();
	struct json j = {.f = f};

	(void)state;
	json_open(&j, NULL, '{');
	json_str(&j, "a", "q\"\\\n\t\x01\x7f\xc3\xa9\xff\xed\xa0\x80");
	json_strn(&j, "n", "a\0b", 3);
	json_open(&j, "list", '[');
	json_u64(&j, NULL, UINT64_MAX);
	json_s64(&j, NULL, -1);
	json_bool(&j, NULL, true);
	json_close(&j, ']');
	json_open(&j, "empty", '{');
	json_close(&j, '}');
	json_hex(&j, "h", 255);
	json_bytes(&j, "b", (const u8 *)"\x0f\xa0", 2);
	json_double(&j, "d", 0.5);
	json_double(&j, "nan", 0.0 / 0.0);
	json_close(&j, '}');
	json_end(&j);
	fclose(f);
	assert_string_equal(
		text,
		"{\"a\":\"q\\\"\\\\\\n\\t\\u0001\\u007f\xc3\xa9\\ufffd\\ufffd\\ufffd\\ufffd\","
		"\"n\":\"a\\u0000b\",\"list\":[18446744073709551615,-1,true],\"empty\":{},"
		"\"h\":\"0xff\",\"b\":\"0fa0\",\"d\":0.5,\"nan\":null}\n");
}

static int teardown(void **state)
{
	(void)state;
	free(text);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),	      cmocka_unit_test(test_json),
		cmocka_unit_test(test_hostile_count), cmocka_unit_test(test_json_parses),
		cmocka_unit_test(test_emitter),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}

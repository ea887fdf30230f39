// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The moments at which a recording starts and ends.
 */
#include "user/trigger.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "user/range.h"

/* 8250 ports of a PC, Bochs' and QEMU's debug consoles. */
static const u16 console_ports[] = {0x3f8, 0x2f8, 0x3e8, 0x2e8, 0xe9, 0x402};

static int fail(char *err, size_t err_size, const char *text, const char *why)
{
	snprintf(err, err_size, "'%s': %s", text, why);
	return -EINVAL;
}

int trigger_parse(struct trigger *t, const char *text, char *err, size_t err_size)
{
	int ret;

	memset(t, 0, sizeof(*t));
	if (!strcmp(text, "reset")) {
		t->kind = TRIGGER_RESET;
		return 0;
	}
	if (!strcmp(text, "exit")) {
		t->kind = TRIGGER_EXIT;
		return 0;
	}
	if (!strncmp(text, "console:", 8)) {
		if (!text[8])
			return fail(err, err_size, text, "a regular expression must follow");
		ret = regcomp(&t->regex, text + 8, REG_EXTENDED | REG_NOSUB);
		if (ret) {
			char why[128];

			regerror(ret, &t->regex, why, sizeof(why));
			return fail(err, err_size, text, why);
		}
		t->kind = TRIGGER_CONSOLE;
		return 0;
	}
	if (!strcmp(text, "panic") || !strncmp(text, "pc:", 3) || !strncmp(text, "mark:", 5))
		return fail(err, err_size, text, "this version cannot wait for that");
	if (duration_parse(text, &t->t_ns))
		return fail(err, err_size, text, "expected SECONDS, reset, exit or console:REGEX");
	t->kind = TRIGGER_TIME;
	return 0;
}

void trigger_free(struct trigger *t)
{
	if (t->kind == TRIGGER_CONSOLE)
		regfree(&t->regex);
	t->kind = TRIGGER_NONE;
}

static bool is_console(u16 port)
{
	for (size_t i = 0; i < sizeof(console_ports) / sizeof(console_ports[0]); i++)
		if (console_ports[i] == port)
			return true;
	return false;
}

static bool console_byte(struct trigger *t, u8 byte)
{
	if (byte == '\n' || byte == '\r' || t->len == sizeof(t->line) - 1) {
		t->len = 0;
		return false;
	}
	if (!byte)
		return false;
	t->line[t->len++] = (char)byte;
	t->line[t->len] = '\0';
	return !regexec(&t->regex, t->line, 0, NULL, 0);
}

/* The bytes that an event writes to a console; NULL when it does no such thing. */
static const struct event_pio *console_write(const struct event *ev)
{
	const struct event_pio *pio = (const struct event_pio *)ev;

	if (ev->kind != EVENT_pio || !pio->write || pio->size != 1 || !pio->len ||
	    pio->len > sizeof(pio->bytes) || !is_console(pio->port))
		return NULL;
	return pio;
}

bool console_line_open(bool open, const struct event *ev)
{
	const struct event_pio *pio = console_write(ev);

	return pio ? pio->bytes[pio->len - 1] != '\n' && pio->bytes[pio->len - 1] != '\r' : open;
}

bool trigger_event(struct trigger *t, const struct event *ev)
{
	const struct event_pio *pio = console_write(ev);

	if (t->hit)
		return false;
	if (t->kind == TRIGGER_RESET && ev->kind == EVENT_reset)
		return t->hit = true;
	if (t->kind != TRIGGER_CONSOLE || !pio)
		return false;
	for (unsigned i = 0; i < pio->len; i++)
		if (console_byte(t, pio->bytes[i]))
			return t->hit = true;
	return false;
}

bool trigger_time(struct trigger *t, u64 now_ns)
{
	if (t->hit || t->kind != TRIGGER_TIME || now_ns < t->t_ns)
		return false;
	return t->hit = true;
}

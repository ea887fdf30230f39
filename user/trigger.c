// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The moments at which a recording starts and ends, and those that it marks.
 */
#include "user/trigger.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "user/range.h"

/* 8250 ports of a PC, Bochs' and QEMU's debug consoles. */
static const u16 console_ports[] = {0x3f8, 0x2f8, 0x3e8, 0x2e8, 0xe9, 0x402};

static const char *const words[TRIGGER_KINDS] = {
	[TRIGGER_TIME] = "SECONDS",
	[TRIGGER_RESET] = "reset",
	[TRIGGER_PANIC] = "panic",
	[TRIGGER_TRIPLE_FAULT] = "triple-fault",
	[TRIGGER_VIRTIO_ERROR] = "virtio-error",
	[TRIGGER_EXIT] = "exit",
	[TRIGGER_CONSOLE] = "console:REGEX",
	[TRIGGER_MARK] = "mark:NAME",
};

const char *trigger_word(enum trigger_kind kind)
{
	return words[kind];
}

const char *trigger_words(enum trigger_kind except, char *buf, size_t size)
{
	enum trigger_kind last = TRIGGER_KINDS - 1;
	size_t len = 0;

	last -= last == except;
	for (enum trigger_kind kind = 1; kind <= last && len < size; kind++)
		if (kind != except)
			len += (size_t)snprintf(buf + len, size - len, "%s%s", words[kind],
						kind == last	  ? ""
						: kind + 1 < last ? ", "
								  : " or ");
	return buf;
}

static int complain(char *err, size_t err_size, const char *text, const char *why)
{
	snprintf(err, err_size, "'%s': %s", text, why);
	return -EINVAL;
}

static int parse_console(struct trigger *t, const char *text, char *err, size_t err_size)
{
	const char *regex = text + strlen("console:");
	char why[128];

	if (!*regex)
		return complain(err, err_size, text, "a regular expression must follow");
	const int ret = regcomp(&t->regex, regex, REG_EXTENDED | REG_NOSUB);
	if (!ret)
		return 0;
	regerror(ret, &t->regex, why, sizeof(why));
	t->kind = TRIGGER_NONE;
	return complain(err, err_size, text, why);
}

/* A word that ends with a colon is followed by something of the user's. */
static bool word_is(const char *text, const char *word)
{
	const char *colon = strchr(word, ':');

	return colon ? !strncmp(text, word, (size_t)(colon - word) + 1) : !strcmp(text, word);
}

int trigger_parse(struct trigger *t, const char *text, char *err, size_t err_size)
{
	char expected[160] = "expected ";
	const size_t len = strlen(expected);

	memset(t, 0, sizeof(*t));
	for (t->kind = TRIGGER_RESET; t->kind < TRIGGER_KINDS; t->kind++)
		if (word_is(text, words[t->kind]))
			break;
	switch (t->kind) {
	case TRIGGER_CONSOLE:
		return parse_console(t, text, err, err_size);
	case TRIGGER_MARK:
		text += strlen("mark:");
		if (!mark_name_good(text))
			return complain(err, err_size, text, MARK_NAME_RULE);
		snprintf(t->name, sizeof(t->name), "%s", text);
		return 0;
	case TRIGGER_KINDS:
		t->kind = TRIGGER_NONE;
		break;
	default:
		return 0;
	}
	if (!strncmp(text, "pc:", 3))
		return complain(err, err_size, text, "this version cannot wait for that");
	if (duration_parse(text, &t->t_ns)) {
		trigger_words(TRIGGER_NONE, expected + len, sizeof(expected) - len);
		return complain(err, err_size, text, expected);
	}
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
		t->matched = false;
		return false;
	}
	if (!byte || t->matched)
		return false;
	t->line[t->len++] = (char)byte;
	t->line[t->len] = '\0';
	return t->matched = !regexec(&t->regex, t->line, 0, NULL, 0);
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

static bool console_matches(struct trigger *t, const struct event_pio *pio)
{
	bool found = false;

	for (unsigned i = 0; pio && i < pio->len; i++)
		found |= console_byte(t, pio->bytes[i]);
	return found;
}

bool trigger_again(struct trigger *t, const struct event *ev)
{
	const struct event_crash *crash = (const struct event_crash *)ev;
	const struct event_mark *mark = (const struct event_mark *)ev;

	switch (t->kind) {
	case TRIGGER_RESET:
		return ev->kind == EVENT_reset;
	case TRIGGER_PANIC:
		return ev->kind == EVENT_crash && crash->what != CRASH_TRIPLE_FAULT;
	case TRIGGER_TRIPLE_FAULT:
		return ev->kind == EVENT_crash && crash->what == CRASH_TRIPLE_FAULT;
	case TRIGGER_VIRTIO_ERROR:
		return ev->kind == EVENT_vq_error;
	case TRIGGER_CONSOLE:
		return console_matches(t, console_write(ev));
	case TRIGGER_MARK:
		return ev->kind == EVENT_mark && mark->name_len == strlen(t->name) &&
		       !memcmp(mark->name, t->name, mark->name_len);
	default:
		return false;
	}
}

bool trigger_event(struct trigger *t, const struct event *ev)
{
	return !t->hit && (t->hit = trigger_again(t, ev));
}

bool trigger_time(struct trigger *t, u64 now_ns)
{
	if (t->hit || t->kind != TRIGGER_TIME || now_ns < t->t_ns)
		return false;
	return t->hit = true;
}

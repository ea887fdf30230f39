/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a real QEMU with the agent in it and plays the recorder, for the agent_*.c programs beside
 * this.
 *
 * The guest is a 64 KiB firmware (agent_guest.h) that stores, checks what it stored, prints a '.'
 * for each pass on its serial port, and ends with exit status GUEST_GOOD when it is sent a byte and
 * all was right, GUEST_BAD when something was not. Every wait has a deadline; nothing sleeps.
 *
 * A program prints a line "ok NAME" or "FAIL NAME: why" a case; its exit status is 0, 1, or 77 when
 * the host cannot run it. AGENT_SO is the library's path, else it is in $B or build/.
 */
#ifndef VMBLAME_TESTS_AGENT_HARNESS_H
#define VMBLAME_TESTS_AGENT_HARNESS_H

#include "../../user/link.h"

#include "agent_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define QEMU	    "qemu-system-x86_64"
#define DEADLINE_MS 90000 /* VMBLAME_SLOW times as long, where that is set */
#define ARGS_MAX    64
#define HEARD_MAX   4096
#define GUEST_GOOD  33 /* isa-debug-exit: value << 1 | 1 */
#define GUEST_BAD   35
#define HARNESS_OUT (1 << 20)
#define QMP_FD	    40
#define QMP_ARGS    " -chardev socket,id=qmp,fd=40 -mon chardev=qmp,mode=control"

struct harness {
	const char *name;
	const char *wrapper;	/* a program to run QEMU by, or NULL */
	const char *agent_name; /* for AGENT_ENV instead of the link's, or NULL */
	struct link *link;
	pid_t pid;
	int to_guest, from_guest;
	int dropped_fd;	     /* for the agent, or -1 */
	int qmp, qmp_theirs; /* a monitor for QEMU on descriptor QMP_FD, when qmp is not -1 */
	bool no_beat, failed, eof, exited, hold_ending;
	int status;
	size_t out_len, qmp_len;
	u32 nheard;
	struct agent_msg heard[HEARD_MAX];
	char out[HARNESS_OUT];
	char qmp_out[HARNESS_OUT];
};

static int harness_failures;

static inline u64 harness_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000 + (u64)ts.tv_nsec / 1000000;
}

static inline u64 harness_deadline_ms(void)
{
	const char *slow = getenv("VMBLAME_SLOW");

	return harness_now_ms() + DEADLINE_MS * (slow ? strtoul(slow, NULL, 10) : 1);
}

__attribute__((format(printf, 2, 3))) static inline void harness_fail(struct harness *h,
								      const char *fmt, ...)
{
	va_list ap;

	if (h->failed)
		return;
	h->failed = true;
	harness_failures++;
	printf("FAIL %s: ", h->name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
}

#define EXPECT(h, cond)                                                          \
	do {                                                                     \
		if (!(cond))                                                     \
			harness_fail(h, "%s:%d: %s", __FILE__, __LINE__, #cond); \
	} while (0)

static inline const char *harness_agent(void)
{
	static char path[4096];
	const char *so = getenv("AGENT_SO"), *build = getenv("B");
	char beside[4096];

	snprintf(beside, sizeof(beside), "%s/libvmblame-agent.so", build ? build : "build");
	if (!realpath(so ? so : beside, path)) {
		fprintf(stderr, "%s: no agent library; set AGENT_SO\n", so ? so : beside);
		exit(77);
	}
	return path;
}

static inline void harness_require_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		fprintf(stderr, "/dev/kvm: %s\n", strerror(errno));
		exit(77);
	}
	close(fd);
}

/* A file that is gone when the program ends; the path is good in a child. */
static inline const char *harness_firmware(void)
{
	static char path[64];
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("guest", 0);
		if (fd < 0 || write(fd, guest_start, GUEST_BYTES) != GUEST_BYTES)
			abort();
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
	}
	return path;
}

static inline void harness_slurp(int *fd, char *buf, size_t *len)
{
	ssize_t n = read(*fd, buf + *len, HARNESS_OUT - 1 - *len);

	if (n > 0) {
		*len += (size_t)n;
	} else if (n == 0 || errno != EAGAIN) {
		close(*fd);
		*fd = -1;
	}
}

/* One round: hears the agent and the guest for up to timeout_ms. */
static inline void harness_poll(struct harness *h, int timeout_ms)
{
	struct pollfd pfd[3] = {{h->link ? link_fd(h->link) : -1, POLLIN, 0},
				{h->from_guest, POLLIN, 0},
				{h->qmp, POLLIN, 0}};
	struct agent_msg msg;
	int got;

	if (h->link && !h->no_beat)
		link_beat(h->link);
	poll(pfd, 3, timeout_ms);
	if (pfd[1].revents)
		harness_slurp(&h->from_guest, h->out, &h->out_len);
	if (pfd[2].revents)
		harness_slurp(&h->qmp, h->qmp_out, &h->qmp_len);
	while (h->link && (got = link_receive(h->link, &msg)) != LINK_NONE) {
		if (got < 0) {
			harness_fail(h, "link: %s", strerror(-got));
			return;
		}
		if (got == LINK_EOF) {
			h->eof = true;
			return;
		}
		if (h->nheard < HEARD_MAX)
			memcpy(&h->heard[h->nheard++], &msg, AGENT_MSG_SIZE);
		if (msg.type == AGENT_ENDING && !h->hold_ending)
			link_send(h->link, AGENT_OK, 0, 0, WHY_NONE);
	}
	if (h->pid > 0 && !h->exited && waitpid(h->pid, &h->status, WNOHANG) == h->pid)
		h->exited = true;
}

/* Waits until cond holds, hearing everybody meanwhile. */
#define WAIT_FOR(h, cond)                                                                   \
	do {                                                                                \
		u64 until_ms_ = harness_deadline_ms();                                      \
		while (!(h)->failed && !(cond)) {                                           \
			if (harness_now_ms() > until_ms_)                                   \
				harness_fail(h, "%s:%d: waited for %s", __FILE__, __LINE__, \
					     #cond);                                        \
			else                                                                \
				harness_poll(h, 50);                                        \
		}                                                                           \
	} while (0)

/* The n-th message of a type that was heard, from 0; NULL when there were fewer. */
static inline const struct agent_msg *harness_heard(const struct harness *h, u32 type, u32 n)
{
	for (u32 i = 0; i < h->nheard; i++)
		if (h->heard[i].type == type && !n--)
			return &h->heard[i];
	return NULL;
}

static inline u32 harness_count(const struct harness *h, u32 type)
{
	u32 n = 0;

	while (harness_heard(h, type, n))
		n++;
	return n;
}

/* How many openings were for that reason. */
static inline u32 harness_opened(const struct harness *h, enum why why)
{
	const struct agent_msg *m;
	u32 n = 0;

	for (u32 i = 0; (m = harness_heard(h, AGENT_OPENED, i)); i++)
		n += m->num[2] == why;
	return n;
}

static inline u32 harness_passes(const struct harness *h)
{
	u32 n = 0;

	for (size_t i = 0; i < h->out_len; i++)
		n += h->out[i] == '.';
	return n;
}

static inline u64 harness_stores(const struct harness *h)
{
	return __atomic_load_n(&link_shared(h->link)->stores, __ATOMIC_RELAXED);
}

static inline void harness_exec(const struct harness *h, char **argv, int in, int out)
{
	dup2(in, 0);
	dup2(out, 1);
	if (h->qmp >= 0)
		dup2(h->qmp_theirs, QMP_FD);
	setenv("LD_PRELOAD", harness_agent(), 1);
	if (h->link)
		setenv(AGENT_ENV, h->agent_name ? h->agent_name : link_name(h->link), 1);
	execvp(argv[0], argv);
	_exit(127);
}

/* Starts a program with the agent in it and ranges to watch. */
static inline void harness_spawn(struct harness *h, u32 flags, const struct agent_range *range,
				 u32 nranges, char **argv)
{
	struct link_opts opts = {.flags = flags,
				 .range = range,
				 .nranges = nranges,
				 .dropped_fd = h->dropped_fd,
				 .uid = geteuid()};
	int in[2], out[2], err = link_open(&h->link, &opts);

	if (err) {
		harness_fail(h, "link_open: %s", strerror(-err));
		return;
	}
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		abort();
	fflush(stdout);
	h->pid = fork();
	if (h->pid == 0)
		harness_exec(h, argv, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	if (h->qmp_theirs >= 0)
		close(h->qmp_theirs);
	h->qmp_theirs = -1;
	h->to_guest = in[1];
	h->from_guest = out[0];
	fcntl(h->from_guest, F_SETFL, O_NONBLOCK);
}

/* Starts QEMU (args: more arguments, blank-separated). */
static inline void harness_start(struct harness *h, u32 flags, const struct agent_range *range,
				 u32 nranges, const char *args)
{
	static char buf[4096];
	char *argv[ARGS_MAX], *save = NULL;
	int n = 0;

	snprintf(buf, sizeof(buf),
		 "%s%s" QEMU " -accel kvm -cpu qemu64,-pni -nodefaults -display none %s",
		 h->wrapper ? h->wrapper : "", h->wrapper ? " " : "", args);
	for (char *tok = strtok_r(buf, " ", &save); tok && n < ARGS_MAX - 1;
	     tok = strtok_r(NULL, " ", &save))
		argv[n++] = tok;
	argv[n] = NULL;
	harness_spawn(h, flags, range, nranges, argv);
}

/* To be called before the start; the caller adds QMP_ARGS to QEMU's arguments. */
static inline void harness_want_qmp(struct harness *h)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
	h->qmp = pair[0];
	h->qmp_theirs = pair[1];
	fcntl(h->qmp, F_SETFL, O_NONBLOCK);
	if (write(h->qmp, "{'execute':'qmp_capabilities'}\n", 31) != 31)
		abort();
}

static inline u32 harness_matches(const char *text, const char *what)
{
	u32 n = 0;

	for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
		n++;
	return n;
}

/* Runs a command and waits until QEMU answered it. */
static inline void harness_qmp(struct harness *h, const char *json)
{
	u32 before = harness_matches(h->qmp_out, "\"return\"");

	if (!before) { /* the greeting's answer */
		WAIT_FOR(h, harness_matches(h->qmp_out, "\"return\"") > 0);
		before = 1;
	}
	if (h->qmp < 0 || write(h->qmp, json, strlen(json)) != (ssize_t)strlen(json))
		harness_fail(h, "qmp: cannot write %s", json);
	WAIT_FOR(h, harness_matches(h->qmp_out, "\"return\"") > before ||
			    strstr(h->qmp_out, "\"error\""));
	if (strstr(h->qmp_out, "\"error\""))
		harness_fail(h, "qmp: %s: %.300s", json, strstr(h->qmp_out, "\"error\""));
}

/* The guest of ours, its serial port on our pipes. */
static inline void harness_start_guest(struct harness *h, u32 flags,
				       const struct agent_range *range, u32 nranges,
				       const char *args)
{
	char all[2048];

	snprintf(all, sizeof(all),
		 "-m 16 -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=4 -bios %s %s",
		 harness_firmware(), args);
	harness_start(h, flags, range, nranges, all);
}

static inline void harness_guest_end(struct harness *h)
{
	if (write(h->to_guest, "q", 1) != 1)
		harness_fail(h, "write to the guest: %s", strerror(errno));
}

/* Waits for QEMU to end and checks how it did. */
static inline void harness_expect_exit(struct harness *h, int code)
{
	WAIT_FOR(h, h->exited && h->from_guest < 0);
	if (!h->failed && (!WIFEXITED(h->status) || WEXITSTATUS(h->status) != code))
		harness_fail(h, "QEMU's wait status is %#x, not exit %d; it printed: %.400s",
			     h->status, code, h->out);
}

/* Bytes of a process that QEMU is. */
static inline bool harness_read(const struct harness *h, u64 hva, void *buf, size_t len)
{
	struct iovec mine = {buf, len}, theirs = {(void *)hva, len};

	return process_vm_readv(link_pid(h->link), &mine, 1, &theirs, 1, 0) == (ssize_t)len;
}

/* Ends the case: kills what is left of it, says how it went. */
static inline void harness_done(struct harness *h)
{
	if (h->pid > 0 && !h->exited) {
		kill(h->pid, SIGKILL);
		waitpid(h->pid, &h->status, 0);
	}
	link_close(h->link);
	if (h->from_guest >= 0)
		close(h->from_guest);
	close(h->to_guest);
	if (h->qmp >= 0)
		close(h->qmp);
	if (!h->failed)
		printf("ok %s\n", h->name);
	fflush(stdout);
	free(h);
}

static inline struct harness *harness_new(const char *name)
{
	struct harness *h = calloc(1, sizeof(*h));

	if (!h)
		abort();
	h->name = name;
	h->from_guest = h->to_guest = h->qmp = h->qmp_theirs = h->dropped_fd = -1;
	return h;
}

#endif

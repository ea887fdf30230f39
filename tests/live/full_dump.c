// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Runs a QEMU under the TCG plugin and shows what comes through the rings.
 *
 *	full_dump [OPTION...] -- QEMU ARGS...
 *
 *	--plugin SO      the plugin, else $B/vmblame-plugin.so or build/vmblame-plugin.so
 *	--args TEXT      further arguments for it, such as audit=1
 *	--capacity N     records of a ring (1048576)
 *	--lossy          a full ring drops stores
 *	--text FILE      a line each: GPA LEN BYTES PC VCPU RING, with s after GPA in SMM, @ for
 *devices
 *	--binary FILE    a struct dump_store each
 *	--replay FILE    RAM below --replay-size (64 MiB) as the stores make it, from zeros
 *	--sites FILE     a line each: NUMBER PC SIZE PART INSTRUCTION
 *	--count          only counts (when neither of these three is there, too)
 *	--die-after N    kills itself, and nothing else, at the first batch past N stores
 *	--stall-after N  drains no more past N stores, until the VMM has dropped as many, or waits
 *	--park-every N   parks the vCPUs at each batch that passes another N stores
 *
 * Prints totals at the end. Exit status: the VMM's; 125 when a record was not what it should be.
 */
#include "../../user/rings.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS 250000

struct dump_store {
	u64 gva, gpa, value, pc;
	u32 vcpu, ring;
	u8 size, part, smm, io;
	u8 pad[4];
};

struct dump {
	struct rings *rings;
	FILE *text, *binary, *sites;
	u8 *ram;
	u64 ram_size;
	u64 io, maps, times, vcpu_switches, rams, lost, idles, smm;
	u64 die_after, stall_after, park_every, next_park, parks, seen;
	u32 capacity, vcpu[RINGS_MAX];
	bool ended, stalling;
	u64 end_ns;
};

static u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000 + (u64)ts.tv_nsec;
}

static void text_put(FILE *out, const struct dump_store *s)
{
	fprintf(out, "0x%" PRIx64 "%s%s %u ", s->gpa, s->smm ? "s" : "", s->io ? "@" : "", s->size);
	for (u32 i = 0; i < s->size; i++)
		fprintf(out, "%02x", (u8)(s->value >> 8 * i));
	fprintf(out, " 0x%" PRIx64 " %u %u\n", s->pc, s->vcpu, s->ring);
}

static void put(struct dump *d, const struct dump_store *s)
{
	if (d->text)
		text_put(d->text, s);
	if (d->binary)
		fwrite(s, sizeof(*s), 1, d->binary);
	if (d->ram && !s->smm && !s->io && s->gpa < d->ram_size && s->size <= d->ram_size - s->gpa)
		memcpy(d->ram + s->gpa, &s->value, s->size);
}

/* One store; cut where it crosses into a page that lies elsewhere. */
static int store(struct dump *d, u32 ring, const struct ring_record *rec)
{
	const struct rings_site *site = rings_site(d->rings, rec->site);
	const u64 first = rings_maps(d->rings, ring)[rec->at >> 12].gva + (rec->at & 0xfff);
	u32 off = 0;

	if (!site)
		return -EPROTO;
	while (off < site->size) {
		const u64 gva = first + off;
		const struct rings_map *map = rings_map(d->rings, ring, gva);
		const u64 left = 0x1000 - (gva & 0xfff);
		const u32 size = site->size - off < left ? site->size - off : (u32)left;
		struct dump_store s = {.gva = gva,
				       .value = rec->word >> 8 * off,
				       .pc = site->pc,
				       .vcpu = d->vcpu[ring],
				       .ring = ring,
				       .size = (u8)size,
				       .part = (u8)site->part};

		if (!map)
			return -EPROTO;
		s.gpa = map->gpa + (gva & 0xfff);
		s.smm = map->smm;
		d->smm += map->smm;
		put(d, &s);
		off += size;
	}
	return 0;
}

static int on_stores(void *arg, u32 ring, const struct ring_record *rec, size_t n)
{
	struct dump *d = arg;

	d->seen += n;
	if (d->die_after && d->seen > d->die_after)
		kill(getpid(), SIGKILL);
	if (!d->text && !d->binary && !d->ram)
		return 0;
	for (size_t i = 0; i < n; i++) {
		const int err = store(d, ring, &rec[i]);

		if (err)
			return err;
	}
	return 0;
}

static int on_io(void *arg, u32 ring, const struct rings_io *io)
{
	struct dump *d = arg;
	const struct rings_site *site = rings_site(d->rings, io->site);
	struct dump_store s = {.gva = io->gva,
			       .gpa = io->gpa,
			       .value = io->value,
			       .pc = site->pc,
			       .vcpu = d->vcpu[ring],
			       .ring = ring,
			       .size = site->size,
			       .io = 1};

	d->io++;
	put(d, &s);
	return 0;
}

static int on_site(void *arg, u32 ring, u32 number, const struct rings_site *site)
{
	struct dump *d = arg;

	(void)ring;
	if (!d->sites)
		return 0;
	fprintf(d->sites, "%u 0x%" PRIx64 " %u %u ", number, site->pc, site->size, site->part);
	for (u32 i = 0; i < site->len; i++)
		fprintf(d->sites, "%02x", site->insn[i]);
	fputc('\n', d->sites);
	return 0;
}

static int on_map(void *arg, u32 ring, const struct rings_map *map)
{
	(void)ring;
	(void)map;
	((struct dump *)arg)->maps++;
	return 0;
}

static int on_time(void *arg, u32 ring, u64 t_ns)
{
	(void)ring;
	(void)t_ns;
	((struct dump *)arg)->times++;
	return 0;
}

static int on_vcpu(void *arg, u32 ring, u32 vcpu)
{
	struct dump *d = arg;

	d->vcpu[ring] = vcpu;
	d->vcpu_switches++;
	return 0;
}

static int on_ram(void *arg, u32 ring, const struct rings_ram *ram, size_t n)
{
	struct dump *d = arg;

	d->rams++;
	if (getenv("SHOW_RAM"))
		for (size_t i = 0; i < n; i++)
			fprintf(stderr,
				"ram %u: 0x%09" PRIx64 " +0x%-9" PRIx64 " at 0x%" PRIx64 "%s%s\n",
				ring, ram[i].gpa, ram[i].size, ram[i].host,
				ram[i].readonly ? " rom" : "", ram[i].hidden ? " hidden" : "");
	return 0;
}

static int on_lost(void *arg, u32 ring, u64 stores, u64 since_ns, enum ring_lost why)
{
	(void)ring;
	(void)since_ns;
	(void)why;
	((struct dump *)arg)->lost += stores;
	return 0;
}

static int on_idle(void *arg, u32 ring, u32 vcpu, u64 t_ns)
{
	(void)ring;
	(void)vcpu;
	(void)t_ns;
	((struct dump *)arg)->idles++;
	return 0;
}

static int on_end(void *arg, u64 t_ns)
{
	struct dump *d = arg;

	d->ended = true;
	d->end_ns = t_ns;
	return 0;
}

static const struct rings_ops ops = {
	.stores = on_stores,
	.site = on_site,
	.io = on_io,
	.map = on_map,
	.time = on_time,
	.vcpu = on_vcpu,
	.ram = on_ram,
	.lost = on_lost,
	.idle = on_idle,
	.end = on_end,
};

static pid_t start(struct rings *r, const char *plugin, const char *args, char **argv, int argc)
{
	char **own = calloc((size_t)argc + 3, sizeof(*own)), *text;
	pid_t pid;

	if (!own || asprintf(&text, "%s,fd=%d,alive=%d%s%s", plugin, rings_fd(r), rings_alive_fd(r),
			     *args ? "," : "", args) < 0)
		return -1;
	memcpy(own, argv, (size_t)argc * sizeof(*own));
	own[argc] = (char[]){"-plugin"};
	own[argc + 1] = text;
	pid = fork();
	if (!pid) {
		fcntl(rings_fd(r), F_SETFD, 0);
		fcntl(rings_alive_fd(r), F_SETFD, 0);
		execvp(own[0], own);
		perror(own[0]);
		_exit(127);
	}
	free(text);
	free(own);
	rings_handed_over(r);
	return pid;
}

/* Parks, and sees that nothing moves. A halted guest is not waited for longer than 20 ms. */
static int park(struct dump *d)
{
	const u64 until = now_ns() + 20000000;
	s64 n;

	rings_park(d->rings);
	while (!rings_parked(d->rings) && now_ns() < until && !d->ended)
		rings_tick(d->rings);
	if (rings_parked(d->rings)) {
		d->parks++;
		n = rings_drain(d->rings, &ops, d);
		if (n < 0)
			return (int)n;
		for (int i = 0; i < 1000 && !d->ended; i++) {
			n = rings_drain(d->rings, &ops, d);
			if (n && !d->ended) {
				fprintf(stderr, "full_dump: %d stores while parked\n", (int)n);
				return -EPROTO;
			}
		}
	}
	rings_unpark(d->rings);
	return 0;
}

/* Until the VMM waits for room, or has dropped what it could not tell. */
static bool stalls(struct dump *d)
{
	struct rings_totals t;

	if (!d->stall_after || d->seen < d->stall_after)
		return false;
	rings_totals(d->rings, &t);
	return t.lost < d->stall_after;
}

static int loop(struct dump *d, pid_t pid, int *status)
{
	const int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	u64 last = 0, stalled_since = 0;

	for (;;) {
		struct pollfd pfd = {pidfd, POLLIN, 0};
		const struct timespec wait = {.tv_nsec = TICK_NS}, none = {0};
		const u64 t = now_ns();
		bool gone;
		s64 n = 0;

		if (t - last >= TICK_NS) {
			rings_tick(d->rings);
			last = t;
		}
		gone = ppoll(&pfd, 1, &none, NULL) == 1;
		if (!stalls(d) || gone || (stalled_since && t - stalled_since > 2000000000)) {
			n = rings_drain(d->rings, &ops, d);
			if (stalled_since)
				d->stall_after = 0;
		} else if (!stalled_since) {
			stalled_since = t;
			d->stalling = true;
		}
		if (n < 0)
			return (int)n;
		if (d->ended)
			rings_end(d->rings);
		if (gone)
			break;
		if (d->park_every && d->seen >= d->next_park && !d->ended) {
			const int err = park(d);

			if (err)
				return err;
			d->next_park = d->seen + d->park_every;
		}
		/* Draining all the time would be a tug of war for the line that holds `head`. */
		if (n < d->capacity / 8)
			ppoll(&pfd, 1, &wait, NULL);
	}
	close(pidfd);
	return waitpid(pid, status, 0) == pid ? 0 : -errno;
}

static void report(const struct dump *d)
{
	struct rings_totals t;

	rings_totals(d->rings, &t);
	printf("stores %" PRIu64 " io %" PRIu64 " smm %" PRIu64 " lost %" PRIu64 "/%" PRIu64
	       " rom %" PRIu64 " unringed %" PRIu64 " records %" PRIu64 "\n",
	       t.stores, d->io, d->smm, d->lost, t.lost, t.rom, t.unringed, t.records);
	printf("rings %u sites %u maps %" PRIu64 " times %" PRIu64 " vcpus %" PRIu64
	       " rams %" PRIu64 " idles %" PRIu64 " parks %" PRIu64 " exact %d quick %d ended %d\n",
	       t.rings, t.sites, d->maps, d->times, d->vcpu_switches, d->rams, d->idles, d->parks,
	       t.exact, t.quick, d->ended);
}

enum {
	PLUGIN = 256,
	ARGS,
	CAPACITY,
	LOSSY,
	TEXT,
	BINARY,
	REPLAY,
	SIZE,
	SITES,
	COUNT,
	DIE,
	STALL,
	PARK
};

static const struct option options[] = {
	{"plugin", 1, NULL, PLUGIN},	 {"args", 1, NULL, ARGS},
	{"capacity", 1, NULL, CAPACITY}, {"lossy", 0, NULL, LOSSY},
	{"text", 1, NULL, TEXT},	 {"binary", 1, NULL, BINARY},
	{"replay", 1, NULL, REPLAY},	 {"replay-size", 1, NULL, SIZE},
	{"sites", 1, NULL, SITES},	 {"count", 0, NULL, COUNT},
	{"die-after", 1, NULL, DIE},	 {"stall-after", 1, NULL, STALL},
	{"park-every", 1, NULL, PARK},	 {0},
};

int main(int argc, char **argv)
{
	struct dump d = {.ram_size = 64 << 20, .capacity = 1 << 20};
	const char *plugin = NULL, *args = "", *replay = NULL, *dir = getenv("B");
	char name[4096];
	u32 flags = 0;
	int c, err, status = 0;
	pid_t pid;

	while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1)
		switch (c) {
		case PLUGIN:
			plugin = optarg;
			break;
		case ARGS:
			args = optarg;
			break;
		case CAPACITY:
			d.capacity = (u32)strtoul(optarg, NULL, 0);
			break;
		case LOSSY:
			flags = RING_LOSSY;
			break;
		case TEXT:
			d.text = fopen(optarg, "w");
			break;
		case BINARY:
			d.binary = fopen(optarg, "w");
			break;
		case REPLAY:
			replay = optarg;
			break;
		case SIZE:
			d.ram_size = strtoull(optarg, NULL, 0);
			break;
		case SITES:
			d.sites = fopen(optarg, "w");
			break;
		case COUNT:
			break;
		case DIE:
			d.die_after = strtoull(optarg, NULL, 0);
			break;
		case STALL:
			d.stall_after = strtoull(optarg, NULL, 0);
			break;
		case PARK:
			d.park_every = strtoull(optarg, NULL, 0);
			break;
		default:
			return 2;
		}
	if (optind >= argc)
		return 2;
	snprintf(name, sizeof(name), "%s/vmblame-plugin.so", dir ? dir : "build");
	if (replay)
		d.ram = calloc(1, d.ram_size);
	err = rings_open(&d.rings, d.capacity, flags);
	if (err) {
		fprintf(stderr, "full_dump: no rings: %s\n", strerror(-err));
		return 125;
	}
	pid = start(d.rings, plugin ? plugin : name, args, argv + optind, argc - optind);
	if (pid < 0)
		return 125;
	err = loop(&d, pid, &status);
	if (!err)
		err = rings_ready(d.rings) < 0 ? -ENOTSUP : 0;
	if (err) {
		fprintf(stderr, "full_dump: %s: %s\n", strerror(-err), rings_error(d.rings));
		kill(pid, SIGKILL);
		rings_close(d.rings);
		return 125;
	}
	report(&d);
	if (replay) {
		FILE *out = fopen(replay, "w");

		if (!out || fwrite(d.ram, d.ram_size, 1, out) != 1 || fclose(out))
			return 125;
	}
	if ((d.sites && fclose(d.sites)) || (d.text && fclose(d.text)) ||
	    (d.binary && fclose(d.binary)))
		return 125;
	rings_close(d.rings);
	free(d.ram);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

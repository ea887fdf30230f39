# SPDX-License-Identifier: GPL-2.0-or-later
# What the parts of the benchmark share: a scratch directory, rows of the table, notes below it.
# Each part is run by bench.sh from the top of the tree, with B set, and adds to $ROWS and $NOTES.

VMBLAME=$PWD/$B/vmblame
HELP=$PWD/$B/tests/bench
GUESTS=$PWD/$B/guests
BENCH=$PWD/tests/bench
export NO_COLOR=1 LC_ALL=C
tmp=$(mktemp -d "${TMPDIR:-/var/tmp}/vmblame-bench.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP

# Where the thread that is timed runs, and where the tracers' own threads do.
if [ "$(nproc)" -gt 1 ]; then
	VCPU_CPU=1 TRACER_CPU=0
else
	VCPU_CPU=0 TRACER_CPU=0
fi

die() {
	echo "bench: $*" >&2
	exit 1
}

# spread: numbers, one a line, to "MIN MEDIAN MAX COUNT".
spread() {
	sort -g | awk '{ v[NR] = $1 } END {
		if (!NR) exit 1
		m = NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2
		printf "%.5g %.5g %.5g %d\n", v[1], m, v[NR], NR }'
}

# row FIGURE LIMIT: a line of the table from the numbers on standard input. LIMIT - for none.
row() {
	set -- "$1" "$2" $(spread) || return 1
	[ $# -eq 6 ] || die "$1: nothing was measured"
	printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$3" "$4" "$5" "$6" "$2" >>"$ROWS"
}

note() {
	printf '%s\n' "$*" >>"$NOTES"
}

# calc EXPRESSION: awk's arithmetic.
calc() {
	awk "BEGIN { printf \"%.6g\", $1 }"
}

# json_number FILE KEY: the first number of that name.
json_number() {
	grep -o "\"$2\":[0-9.]*" "$1" | head -1 | cut -d: -f2
}

# probes_except NAME...: --without for every other probe.
probes_except() {
	for probe in $("$VMBLAME" check | awk '$1 == "probe" { print $2 }'); do
		case " $* " in
		*" $probe "*) ;;
		*) printf ' --without %s' "$probe" ;;
		esac
	done
}

#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The form of the tree: layers, formatting, headers that compile alone, licences, generated documents.
cd "$(dirname "$0")/.." || exit 1
B=${B:-build}
n=0 failed=0
report() { # NAME STATUS LOG
	n=$((n + 1))
	if [ "$2" -eq 0 ]; then
		echo "ok $n - $1"
	else
		failed=1
		echo "not ok $n - $1"
		printf '%s\n' "$3" | head -30
	fi
}

sources=$(ls formats/*.[ch] replay/*.[ch] user/*.[ch] bpf/*.[ch] tests/*/*.[ch] 2>/dev/null)

log=$(sh tests/check_layers.sh 2>&1)
report "includes run one way" $? "$log"

if command -v clang-format >/dev/null; then
	log=$(clang-format --dry-run -Werror $sources 2>&1)
	report "clang-format" $? "$log"
else
	echo "ok $((n = n + 1)) - clang-format # SKIP no clang-format"
fi

log=$(for h in formats/*.h replay/*.h user/*.h; do
	gcc -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -I. -I"$B/gen" -fsyntax-only -x c "$h" \
		-Wno-unused-function 2>&1 || echo "$h does not compile alone"
done)
[ -z "$log" ]
report "every header compiles alone" $? "$log"

log=$(for f in $sources $(ls tests/*.sh tests/*/*.sh user/*.def formats/*.def 2>/dev/null); do
	head -3 "$f" | grep -q 'SPDX-License-Identifier: GPL-2.0-or-later' || echo "$f: no licence"
done)
[ -z "$log" ]
report "every file names its licence" $? "$log"

log=$(for f in $sources; do
	lines=$(wc -l <"$f")
	[ "$lines" -le 700 ] || echo "$f: $lines lines"
done)
[ -z "$log" ]
report "no file past 700 lines" $? "$log"

log=$(find tests -name '*.py' -print0 | xargs -0 pyflakes3 2>&1)
report "Python that names what it uses" $? "$log"

if [ -x "$B/tests/gen/gen_events" ]; then
	log=$("$B/tests/gen/gen_events" | diff -u docs/events.md - 2>&1)
	report "docs/events.md is what events.def says" $? "$log"
fi
if [ -x "$B/vmblame" ] && [ -e docs/vmblame.1 ]; then
	log=$("$B/vmblame" manual | diff -u docs/vmblame.1 - 2>&1)
	report "docs/vmblame.1 is what the option tables say" $? "$log"
fi
echo "1..$n"
exit $failed

#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds in other ways: without a warning by gcc and by clang, under the address and undefined behaviour
# sanitizers (with which the unit, golden and command line tests run again), through cppcheck.
cd "$(dirname "$0")/.." || exit 1
B=${B:-build}
n=0 failed=0
log=$B/check_build.log
mkdir -p "$B"
report() { # NAME STATUS
	n=$((n + 1))
	if [ "$2" -eq 0 ]; then
		echo "ok $n - $1"
	else
		failed=1
		echo "not ok $n - $1"
		grep -E ' error: | warning: |\*\*\*' "$log" | head -20
	fi
}

# The inner make must not think that it is part of the outer one.
unset MAKEFLAGS MFLAGS MAKELEVEL CMOCKA_MESSAGE_OUTPUT
for cc in gcc clang; do
	make -j2 B="$B/$cc" CC=$cc WERROR=1 CFLAGS="-O2 -g" all guests unit-tests >"$log" 2>&1
	report "builds with $cc without a warning" $?
	rm -rf "$B/$cc"
done

cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr --error-exitcode=1 -I. \
	--suppress=missingInclude --suppress=unknownMacro -D__x86_64__ \
	formats replay user >"$log" 2>&1
report "cppcheck finds nothing" $?

sanitize="-fsanitize=address,undefined -fno-sanitize-recover=undefined"
make -j2 B="$B/asan" WERROR=1 CFLAGS="-O1 -g" EXTRA_CFLAGS="$sanitize" all unit-tests >"$log" 2>&1
status=$?
report "builds with the sanitizers" $status
if [ $status -eq 0 ]; then
	ASAN_OPTIONS=detect_leaks=1 make B="$B/asan" CFLAGS="-O1 -g" EXTRA_CFLAGS="$sanitize" WERROR=1 \
		check-sanitized >"$B/asan.log" 2>&1
	status=$?
	cp "$B/asan.log" "$log"
	report "unit, golden and command line tests pass under the sanitizers ($(tail -1 "$B/asan.log"))" \
		$status
	[ $status -eq 0 ] || grep -A15 -E '^---|not ok|ERROR: ' "$B/asan.log" | head -60
fi
echo "1..$n"
exit $failed

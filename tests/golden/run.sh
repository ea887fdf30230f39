#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Reads the golden traces and compares what the reader makes of them with the committed answers.
# With --update (make golden-update, by hand) the answers are written instead.
set -u
update=${1:-}
. "$(dirname "$0")/../lib.sh"
dump=$(realpath "$B/tests/gen/dump_trace") || exit 1
cd tests/golden || exit 1

# expect NAME ARGUMENTS...: NAME.expected is what dump_trace says of ARGUMENTS.
expect() {
	name=$1
	shift
	"$dump" "$@" >"$tmp/said" # a refusal is an answer too
	if [ "$update" = --update ]; then
		cp "$tmp/said" "$name.expected"
	else
		check "golden $name" diff -u "$name.expected" "$tmp/said"
	fi
}

expect tiny tiny.vmb
expect stos stos.vmb
expect kinds kinds.vmb
expect mmu mmu.vmb
expect stores stores.vmb
expect versions versions.vmb
expect wrong-sum wrong-sum.vmb brief
expect kinds-backward kinds.vmb backward brief
expect stores-backward stores.vmb backward brief
expect cut cut.vmb brief
expect damaged-body damaged-body.vmb brief
expect damaged-index damaged-index.vmb brief
expect newer newer.vmb
expect foreign foreign.vmb
finish

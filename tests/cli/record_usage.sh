#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The command line of record: what is wrong with it is said before anything is touched, and needs no
# rights to be found.
. "$(dirname "$0")/../lib.sh"
. tests/cli/cli.inc

cd "$tmp" || exit 1
mkdir here && cd here || exit 1
printf 'an older trace' >vmblame.vmb
printf 'mine' >mine.vmb
chmod -R a+rX "$tmp"

untouched() {
	[ "$(ls | tr '\n' ' ')" = "mine.vmb vmblame.vmb " ] || { ls -la; return 1; }
	[ "$(cat vmblame.vmb mine.vmb)" = "an older tracemine" ]
}

# usage NAME PATTERN ARGS...: exit 2, one line with the pattern, nothing touched.
usage() {
	label=$1 usage_pattern=$2
	shift 2
	both() { refused 2 "$usage_pattern" "$VMBLAME" record "$@" && untouched; }
	check "$label" both "$@"
}

usage "no VMM" "VMM"
usage "no VMM behind --" "VMM" --
usage "the VMM without --" "--" qemu-system-x86_64
usage "an operand before --" "stray" stray -- true
usage "-o without a name" "-o\|--output" -o
usage "an unknown mode" "--mode everything" --mode everything -- true
usage "an empty mode" "--mode" --mode "" -- true
usage "--mode watch without --watch" "--watch" --mode watch -- true
usage "--mode events with --watch" "--watch" --mode events --watch 0x1000+16 -- true
for option in --from --until --mark --exact; do
	for event in "" "-1" "1.2.3" "12x" "s" "nan" "inf" "1e99" "0x10s" "later" "Reset" "resets" \
		"console:" "console:[" "console:a{2,1}" "console:(" "pc:" "mark:" "mark:1" "mark:a b" \
		"panics" " 1"; do
		usage "$option '$event'" "$option" $option "$event" -- true
	done
done
for option in --mark --exact; do
	usage "$option exit" "$option exit: that has a name" $option exit -- true
	usage "$option mark:x" "$option mark:x: that has a name" $option mark:x -- true
	usage "$option reset in full mode" "take SECONDS" --mode full $option reset -- true
done
for mode in "--mode events" "--watch 0x1000+8"; do
	usage "--exact with $mode" "--exact needs --mode pages or full" $mode --exact reset -- true
done
for then in "" stop Kill "kill "; do
	usage "--then '$then'" "--then" --until 1 --then "$then" -- true
done
for size in "" 0 1 4095 5000 12K 2G -1 0x 4Q 16777217; do
	usage "--ring-size '$size'" "--ring-size" --ring-size "$size" -- true
done
for n in "" -1 x 99999 1.5; do
	usage "--vm '$n'" "--vm" --vm "$n" -- true
done
usage "--without a probe that is not there" "--without nonsense" --without nonsense -- true

# What belongs to one mode.
usage "--mode pages with --watch" "no --watch" --mode pages --watch 0x1000+8 -- true
usage "--mode pages with --only" "--only needs --mode full" --mode pages --only 0x1000+8 -- true
for option in --epoch=10ms --ram=0+4K --shadow-max=1G; do
	usage "$option without --mode pages" "${option%=*} needs --mode pages" --mode events $option -- true
done
for size in "" 0 x -1; do
	usage "--shadow-max '$size'" "--shadow-max" --shadow-max "$size" -- true
done
for range in "" 9..3 0x1000+0 x+1 0+8P; do
	usage "--ram '$range'" "--ram" --ram "$range" -- true
done
for time in 0 999us 11s -1 x ""; do
	usage "--epoch '$time'" "--epoch" --mode pages --epoch "$time" -- true
done
usage "--mode full with --watch" "no --watch" --mode full --watch 0x1000+8 -- true
usage "--mode full with --only that is no range" "--only 9..3" --mode full --only 9..3 -- true
usage "--only without --mode full" "--only needs --mode full" --only 0x1000+8 -- true
usage "--lossy without --mode full" "--lossy needs --mode full" --lossy -- true
check "nothing was touched by those" untouched
refuses "full: a VMM without plugins: 125, and why" 125 "did not load the plugin" \
	"$VMBLAME" record --mode full -o "$tmp/full.vmb" -q -- true
finish

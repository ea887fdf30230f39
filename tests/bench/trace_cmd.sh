#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# trace_cmd.sh ARGS...: trace-cmd, also where the kernel is locked down and refuses the files of the
# function tracer, which trace-cmd opens whether it needs them or not. In a private mount namespace
# a dummy lies over each of those. What trace-cmd changes in tracefs is put back, also on a signal.
set -eu

T=/sys/kernel/tracing
# Without free_buffer: closing that one shrinks the buffer. Reading these has no effect.
FTRACE_FILES="available_filter_functions available_filter_functions_addrs enabled_functions
set_ftrace_filter set_ftrace_notrace set_ftrace_notrace_pid set_ftrace_pid touched_functions
set_graph_function set_graph_notrace"

if [ "${TRACE_CMD_INSIDE-}" != 1 ]; then
	# exec: a signal for this script then reaches the one that restores.
	TRACE_CMD_INSIDE=1 exec unshare -m sh "$0" "$@"
fi

mount --make-rprivate /
[ -e $T/tracing_on ] || mount -t tracefs tracefs $T
saved=$(mktemp -d)

get() { # FILE: its value; for a choice, what is chosen
	sed -e 's/.*\[\(.*\)\].*/\1/' -e 's/.*(expanded: \([0-9]*\)).*/\1/' "$T/$1"
}

put() { # FILE VALUE: writes only what differs
	[ "$(get "$1")" = "$2" ] || echo "$2" >"$T/$1"
}

FILES="current_tracer trace_clock buffer_size_kb tracing_cpumask set_event_pid tracing_on"

save() {
	for f in $FILES; do
		get "$f" >"$saved/$f"
	done
	cat $T/set_event >"$saved/set_event"
	cat $T/trace_options >"$saved/trace_options"
}

restore() {
	trap '' INT TERM HUP
	for option in $(cat "$saved/trace_options"); do
		grep -qx "$option" $T/trace_options || echo "$option" >$T/trace_options
	done
	[ "$(cat $T/set_event)" = "$(cat "$saved/set_event")" ] || {
		echo >$T/set_event
		while read -r event; do
			echo "$event" >>$T/set_event
		done <"$saved/set_event"
	}
	for f in $FILES; do
		put "$f" "$(cat "$saved/$f")"
	done
	# The mounts go with the namespace.
	rm -rf "$saved" 2>/dev/null || :
}

shadow() { # FILE CONTENT
	name=$(echo "$1" | tr / _)
	printf '%s' "$2" >"$saved/$name"
	mount --bind "$saved/$name" "$1"
}

save
child=
trap restore EXIT
trap '[ -z "$child" ] || { kill -INT "$child"; wait "$child" || :; }; exit 130' INT TERM HUP

for f in $FTRACE_FILES; do
	[ ! -e "$T/$f" ] || head -c 1 "$T/$f" >/dev/null 2>&1 || shadow "$T/$f" ""
done
enabled=/proc/sys/kernel/ftrace_enabled
if [ -e $enabled ]; then
	value=$(cat $enabled)
	(echo "$value" >$enabled) 2>/dev/null || shadow $enabled "$value"
fi
# trace-cmd copies this file and fails when its size changes meanwhile, as it does with every BPF
# program that comes or goes.
cat /proc/kallsyms >"$saved/kallsyms"
mount --bind "$saved/kallsyms" /proc/kallsyms

# In the background, so that the shell can act on a signal at once.
trace-cmd "$@" &
child=$!
status=0
wait "$child" || status=$?
child=
exit $status

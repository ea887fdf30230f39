#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Includes run one way: formats/ <- replay/ <- user/; bpf/ sees the event header alone; the agent sees
# nothing but its own files and the event header. Prints each include that runs the wrong way.
set -u
cd "$(dirname "$0")/.." || exit 1
bad=0

# includes FILES...: "file: header" for each include of ours, the header by its path from the top
includes() {
	grep -HE '^[[:space:]]*#[[:space:]]*include[[:space:]]+"' "$@" 2>/dev/null |
		sed -E 's/^([^:]*):[^"]*"([^"]*)".*/\1 \2/' |
		while read -r file header; do
			if [ -e "$header" ]; then
				path=$header
			else
				path=$(realpath -m --relative-to=. "$(dirname "$file")/$header")
			fi
			echo "$file $path"
		done
}

# forbid WHAT ALLOWED-PATTERN FILES...
forbid() {
	what=$1 allowed=$2
	shift 2
	wrong=$(includes "$@" | grep -vE " ($allowed)\$")
	[ -z "$wrong" ] && return
	echo "$wrong" | sed "s|^|$what: |"
	bad=1
}

forbid "formats/ includes nothing of ours" 'formats/[^ ]*' formats/*.[ch]
forbid "replay/ includes formats/ alone" '(formats|replay)/[^ ]*' replay/*.[ch]
forbid "bpf/ includes the event header alone" \
	'bpf/[^ ]*|formats/event(\.h|s\.def)|user/agent\.h|user/probes\.def|(bpf/)?vmlinux\.h' bpf/*.[ch]
forbid "the agent includes its own files alone" \
	'user/agent[^ ]*|formats/event(\.h|s\.def)' user/agent.[ch] user/agent_*.[ch]
forbid "user/ includes formats/, replay/, bpf/shared.h" \
	'(formats|replay|user)/[^ ]*|bpf/shared\.h|user/vmblame\.skel\.h' user/*.[ch]
exit $bad

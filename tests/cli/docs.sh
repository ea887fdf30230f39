#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# What is made from the option tables: the manual page and the completion.
. "$(dirname "$0")/../lib.sh"
. tests/cli/cli.inc

"$VMBLAME" manual >"$tmp/vmblame.1"
if command -v mandoc >/dev/null; then
	lint() { mandoc -T lint -W warning "$tmp/vmblame.1"; }
	check "mandoc has no complaint" lint
	page() { mandoc -T utf8 "$tmp/vmblame.1" | col -bx >"$tmp/page" && [ -s "$tmp/page" ]; }
	check "mandoc renders it" page
elif command -v groff >/dev/null; then
	page() {
		groff -man -ww -T utf8 "$tmp/vmblame.1" 2>"$tmp/complaints" | col -bx >"$tmp/page" &&
			[ ! -s "$tmp/complaints" ]
	}
	check "groff has no complaint" page
else
	skip "the manual page renders" "mandoc or groff"
	cp "$tmp/vmblame.1" "$tmp/page"
fi
every_option() {
	for command in record check who history show info verify export completion manual; do
		grep -q "vmblame.*$command" "$tmp/vmblame.1" || { echo "no $command"; return 1; }
		for option in $("$VMBLAME" $command -h | grep -oE '^ +(-., )? *--[a-z-]+' | grep -oE -e '--[a-z-]+'); do
			[ "$option" = --help ] && continue
			roff=$(printf '%s' "$option" | sed 's/-/\\-/g')
			grep -qF -e "$roff" "$tmp/vmblame.1" || { echo "no $option"; return 1; }
		done
	done
}
check "the manual page has every command and option" every_option
one_page() { ! grep -n ' $' "$tmp/vmblame.1"; }
check "no blanks at line ends" one_page
install_page() {
	[ ! -e docs/vmblame.1 ] || cmp docs/vmblame.1 "$tmp/vmblame.1"
}
check "docs/vmblame.1 is this page" install_page

if ! command -v bash >/dev/null; then
	skip "completion" "bash"
	finish
fi
"$VMBLAME" completion bash >"$tmp/completion"
check "bash takes the completion without a word" sh -c '[ -z "$(bash -euc ". $1" 2>&1)" ]' sh "$tmp/completion"

# completes WORDS...: what follows the last word, which is the one to be completed.
completes() {
	bash -c '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vmblame; echo "${COMPREPLY[*]}"' \
		bash "$tmp/completion" "$@" 2>&1
}
gives() {
	given=$1
	shift
	got=$(completes "$@")
	[ "$got" = "$given" ] || { echo "'$got', not '$given'"; return 1; }
}
check "a command" gives "history" vmblame hi
check "two commands" gives "info index" vmblame in
check "help for a command" gives "export" vmblame help ex
check "an option" gives "--before" vmblame who --be
check "options with a common start" gives "--force --from" vmblame record --f
check "no options where a file is due" gives "" vmblame who ""
registered() { bash -c '. "$1"; complete -p vmblame' bash "$tmp/completion" | grep -q '_vmblame'; }
check "it is registered" registered
all_commands() {
	got=" $(completes vmblame "") "
	for command in record check who history show info verify export completion manual help; do
		case $got in *" $command "*) ;; *) echo "no $command in $got"; return 1 ;; esac
	done
}
check "nothing typed yet: every command" all_commands
finish

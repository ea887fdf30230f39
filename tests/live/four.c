// SPDX-License-Identifier: GPL-2.0-or-later
/* A VMM that does nothing but end with status 4: cli_launch.sh has it statically linked, too. */
int main(void)
{
	return 4;
}

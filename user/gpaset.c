// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A set of guest-physical addresses.
 */
#include "user/gpaset.h"

#include <string.h>

bool gpaset_add(struct gpaset *s, u64 gpa, u64 end)
{
	size_t i = 0, n;

	while (i < s->n && s->range[i].end < gpa)
		i++;
	if (i < s->n && s->range[i].gpa <= gpa && end <= s->range[i].end)
		return false;
	/* Those from i up to n become one. */
	for (n = i; n < s->n && s->range[n].gpa <= end; n++) {
		gpa = s->range[n].gpa < gpa ? s->range[n].gpa : gpa;
		end = s->range[n].end > end ? s->range[n].end : end;
	}
	if (n == i && s->n == GPASET_MAX)
		return true;
	memmove(&s->range[i + 1], &s->range[n], (s->n - n) * sizeof(s->range[0]));
	s->n = s->n - n + i + 1;
	s->range[i] = (struct gpa_range){gpa, end};
	return true;
}

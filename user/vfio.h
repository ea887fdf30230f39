/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether a VMM hands hardware to its guest, which then writes guest RAM past everybody. */
#ifndef VMBLAME_VFIO_H
#define VMBLAME_VFIO_H

#include <stdbool.h>
#include <sys/types.h>

/* It has a VFIO group, container or device open, or iommufd (Linux,
 * Documentation/driver-api/vfio.rst and userspace-api/iommufd.rst). False when its descriptors
 * cannot be read. */
bool vfio_used(pid_t pid);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Standard input, output and error that whoever started us has closed. The next file or
 * socket that is opened would get that number, and what is meant for a terminal (a log
 * line, a result) would land in it: in a log, an index, an image.
 */
#ifndef VMS_STDFD_H
#define VMS_STDFD_H

/* Call first. Numbers 0 to 2 are open afterwards; what was closed still fails when it is
 * used (EBADF), so that a result that nobody can read is no success. */
void vms_std_fds(void);

/* Standard output at a program's end, whose exit code would be `code`: when not all of it
 * could be written that is told and makes a 0 a 1. A reader that has gone away (a pipe to
 * `head`) has seen what it wanted. */
int vms_std_end(const char *prog, int code);

#endif

# SPDX-License-Identifier: GPL-2.0-only
# What vmstore and vmstore-ring share lies in an archive of its own.
LIB_DIRS += utils/tool
LIB_ALL += $(call lib,utils/tool)
# Images: sources, formats, what dedup would save.
LIB_DIRS += utils/image
LIB_ALL += $(call lib,utils/image)

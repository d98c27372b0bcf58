# SPDX-License-Identifier: GPL-2.0-only
# The simulator: `make sim SEEDS=1..20000`.
SEEDS ?= 1..1000
.PHONY: sim
sim: $(B)/bin/vmstore-sim
	$(B)/bin/vmstore-sim --seeds $(SEEDS) $(SIM_ARGS)

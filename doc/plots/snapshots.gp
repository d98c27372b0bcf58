# SPDX-License-Identifier: GPL-2.0-only
# gnuplot doc/plots/snapshots.gp, in the top folder. Data: scripts/bench-snap --rows paper
# --plot doc/plots/snapshots.dat
set terminal svg size 720,400 font 'sans,12' background 'white'
set output 'doc/plots/snapshots.svg'
set xlabel 'snapshots taken before the read'
set ylabel 'ms for 2 MiB, caches cold'
set yrange [0:*]
set grid ytics lc rgb '#dddddd'
set key top left
plot 'doc/plots/snapshots.dat' using 1:2 with linespoints pt 7 lc rgb '#1f6fb4' title 'VMStore, 3 nodes, 2 copies', \
     '' using 1:5 with linespoints pt 5 lc rgb '#c05020' title 'qcow2 chain, local file'

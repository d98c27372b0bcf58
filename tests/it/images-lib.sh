# SPDX-License-Identifier: GPL-2.0-only
# Image sets for the dedup tests, built once into $IT_CACHE. Sourced behind lib.sh.
#
# images_of SET    its files, one a line, in the order they are to be written:
#   small     150 MiB of the machine's own files: a, a copy whose files were written in
#             a random order, a copy of which a tenth was replaced; needs no root
#   release   Debian machines of 1 to 1.5 GiB (scripts/images)
#   family    twelve clones of one (scripts/images)

# debugfs commands that write files of a folder in the order of a list on stdin
debugfs_writes() { # FOLDER
	awk -v d="$1" '
		function dirs(p,  i, n, a, q) {
			n = split(p, a, "/")
			for (i = 1; i < n; i++) {
				q = q "/" a[i]
				if (!(q in made)) { print "mkdir \"" q "\""; made[q] = 1 }
			}
		}
		{ dirs($0); print "write \"" d "/" $0 "\" \"" $0 "\"" }'
}

small_build() { # FOLDER
	need mke2fs e2fsprogs
	need debugfs e2fsprogs
	sm=$(mktemp -d "$1.XXXXXX") || return 1
	mkdir "$sm/files"
	# many small files and some large ones
	find /usr/share /usr/lib -xdev -type f -size -8192k -printf '%s %P\n' 2> /dev/null | sort -k2 |
		grep -v '["\\]' | awk -v max=157286400 '
			{ n = int(($1 + 4095) / 4096) * 4096; if (sum + n > max) exit
			  sum += n; sub(/^[0-9]+ /, ""); print }' > "$sm/list"
	(cd /usr/share && tar -cf - --ignore-failed-read --no-recursion -T "$sm/list" 2> /dev/null) |
		tar -C "$sm/files" -xf -
	(cd /usr/lib && tar -cf - --ignore-failed-read --no-recursion -T "$sm/list" 2> /dev/null) |
		tar -C "$sm/files" -xf -
	(cd "$sm/files" && find . -type f | sed 's/^\.\///' | LC_ALL=C sort) > "$sm/list"
	for sm_i in a b; do
		truncate -s 256M "$sm/$sm_i.raw"
		mke2fs -q -t ext4 -m 0 -N 65536 -E "hash_seed=00000000-0000-4000-8000-00000000000$((sm_n += 1))" \
			"$sm/$sm_i.raw" || return 1
	done
	debugfs_writes "$sm/files" < "$sm/list" > "$sm/cmds"
	debugfs -w -f "$sm/cmds" "$sm/a.raw" > "$sm/log" 2>&1 || return 1
	awk 'BEGIN { srand(3) } { printf "%.9f %s\n", rand(), $0 }' "$sm/list" | sort -k1,1 |
		cut -d' ' -f2- | debugfs_writes "$sm/files" > "$sm/cmds"
	debugfs -w -f "$sm/cmds" "$sm/b.raw" > "$sm/log" 2>&1 || return 1
	mv "$sm/b.raw" "$sm/a-shuffled.raw"
	# an upgrade: every tenth file is written anew, half of them with other content
	cp --sparse=always "$sm/a.raw" "$sm/a-upgraded.raw"
	mkdir "$sm/new"
	awk 'NR % 10 == 0' "$sm/list" > "$sm/changed"
	while read -r sm_f; do
		mkdir -p "$sm/new/$(dirname "$sm_f")"
		cp "$sm/files/$sm_f" "$sm/new/$sm_f"
		sm_n=$((sm_n + 1))
		[ $((sm_n % 2)) = 0 ] || sed -i "s/e/$sm_n/" "$sm/new/$sm_f"
	done < "$sm/changed"
	{
		sed 's/.*/rm "&"/' "$sm/changed"
		awk -v d="$sm/new" '{ print "write \"" d "/" $0 "\" \"" $0 "\"" }' "$sm/changed"
	} > "$sm/cmds"
	debugfs -w -f "$sm/cmds" "$sm/a-upgraded.raw" > "$sm/log" 2>&1 || return 1
	rm -rf "$sm/files" "$sm/new" "$sm/list" "$sm/cmds" "$sm/changed" "$sm/log"
	mkdir -p "$1"
	mv "$sm"/*.raw "$1/" && rmdir "$sm"
}

images_of() { # SET
	case $1 in
	small)
		[ -f "$IT_CACHE/dedup-small/a-upgraded.raw" ] || {
			mkdir -p "$IT_CACHE"
			small_build "$IT_CACHE/dedup-small" || fail "the images cannot be built"
		}
		for if_i in a a-shuffled a-upgraded; do echo "$IT_CACHE/dedup-small/$if_i.raw"; done
		;;
	*)
		"$IT_ROOT/scripts/images" "$IT_CACHE/images" "$1" >&2
		if_rc=$?
		[ $if_rc != 77 ] || skip "Debian images cannot be built here (see above)"
		[ $if_rc = 0 ] || fail "scripts/images"
		case $1 in
		release) for if_i in a a-shuffled a-upgraded b; do echo "$IT_CACHE/images/$if_i.raw"; done ;;
		family) for if_i in 01 02 03 04 05 06 07 08 09 10 11 12; do echo "$IT_CACHE/images/family-$if_i.raw"; done ;;
		esac
		;;
	esac
}

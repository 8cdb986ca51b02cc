# Sourced by the fetch-* scripts: apt with package lists of its own, so that the machine's
# /etc/apt and /var/lib/apt stay as they are and no root is needed.

# apt_private_init DIR TYPE [ARCHITECTURES]: lists of TYPE (deb, deb-src), kept in DIR, from
# where the machine's own apt sources point. Status 1 where there are no such sources.
apt_private_init() {
	apt_private_dir=$1 apt_private_archs=${3:-$(dpkg --print-architecture)}
	mkdir -p "$1/parts" "$1/lists/partial" "$1/cache/archives/partial"

	# The one-line form, then the deb822 form.
	LIST=/etc/apt/sources.list
	PARTS=/etc/apt/sources.list.d
	eval "$(apt-config shell LIST Dir::Etc::sourcelist/f PARTS Dir::Etc::sourceparts/d)"
	for f in "$LIST" "$PARTS"/*.list; do
		[ ! -r "$f" ] || sed -nE "s/^[[:space:]]*deb(-src)?[[:space:]]+/$2 /p" "$f"
	done | sort -u >"$1/parts/private.list"
	for f in "$PARTS"/*.sources; do
		[ -r "$f" ] || continue
		# A blank line between files, or their stanzas would run together.
		sed -E "s/^[Tt]ypes:.*/Types: $2/" "$f"
		echo
	done >"$1/parts/private.sources"
	if ! grep -q . "$1/parts/private.list" "$1/parts/private.sources"; then
		echo "no apt sources found in $LIST and $PARTS" >&2
		return 1
	fi

	# A mirror in the middle of its update serves indices that do not fit together: try
	# once more, then go on with the lists there are.
	if ! apt_private apt-get update >"$1/log" 2>&1 || grep -q '^[EW]:' "$1/log"; then
		sleep 5
		apt_private apt-get update >"$1/log" 2>&1 || true
	fi
}

# apt_private PROGRAM ARGUMENT...: run apt-get or apt-cache with these lists.
apt_private() {
	apt_private_program=$1
	shift
	DEBIAN_FRONTEND=noninteractive $apt_private_program -q \
		-o Dir::Etc::sourcelist=/dev/null \
		-o Dir::Etc::sourceparts="$apt_private_dir/parts" \
		-o Dir::State::lists="$apt_private_dir/lists" -o Dir::Cache="$apt_private_dir/cache" \
		-o APT::Architectures="$apt_private_archs" \
		-o APT::Sandbox::User=root -o Acquire::Languages=none "$@" </dev/null
}

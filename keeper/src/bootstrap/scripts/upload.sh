# Receives a program, verifies it and puts it in place. Given: place, build, target, name (the part's:
# the beginning of the digest of what is sent), packed (gz or plain), sent (its bytes), need (KiB
# that must be free for what is sent and what becomes of it), bytes and digest (of the program),
# again (yes: from its first byte).

free() {
    # shellcheck disable=SC2046 # the words of the line are wanted
    set -- $(df -Pk "$1" 2>/dev/null | sed -n '$p')
    # One that is not told does not stand in the way.
    printf '%s' "${4:-999999999}"
}

# Whether what a program said is that the disk, or this user's part of it, is full.
is_about_space() {
    case $1 in
    *[Nn]"o space"* | *quota*) return 0 ;;
    esac
    return 1
}

# Takes away the directories that were made for nothing.
unmake() {
    rmdir "$dir" "${dir%/*}" 2>/dev/null
    case $made in
    "$data"*)
        [ -d "$dir" ] || rm -f "$data/made"
        printf '%s\n' "$made" "$root" | while read -r up; do rmdir "$up" 2>/dev/null; done
        ;;
    esac
}

# The last words: why nothing was installed. What cannot be finished must not fill the disk either.
give_up() { # WHY [WHAT A PROGRAM SAID]
    left=$(free "$data")
    # Not every shell says why it could not write.
    if is_about_space "${2:-}" || [ "$left" -lt 8 ]; then
        rm -f "$new" "$part"
        unmake
        say "full=$left"
    else
        rm -f "$new"
        unmake
        printf '%s\n' "${2:-}" >&2
        say "$1"
    fi
    exit 1
}

# The directories above $1 that are missing, nearest first.
missing() {
    up=$1
    while [ -n "$up" ] && [ ! -d "$up" ]; do
        printf '%s\n' "$up"
        up=${up%/*}
    done
}

is_build() {
    case $1 in
    *[!0-9a-f]*) return 1 ;;
    ????????????????) return 0 ;;
    esac
    return 1
}

# Whether a process runs from below $1. Where that cannot be seen: yes.
runs_from() {
    [ -d /proc/self ] || return 0
    ls -l /proc/[0-9]*/exe 2>/dev/null | grep -q -F -e "-> $1/"
}

# Takes over what an upload left that has ended, or one that has stood still for some seconds: its
# connection was cut, and its server has not noticed. A rename succeeds for one of two who try.
claim() {
    for old in "$dir"/rbee.*.new; do
        pid=${old%.new}
        [ ! -f "$old" ] || kill -0 "${pid##*.}" 2>/dev/null || rm -f "$old"
    done
    for old in "$dir/rbee.$name".*.part; do
        [ -f "$old" ] || continue
        [ "$old" = "$part" ] && return 0
        pid=${old%.part}
        if kill -0 "${pid##*.}" 2>/dev/null; then
            before=$(size "$old")
            sleep 3
            # Whoever ended meanwhile writes no more, however far it came.
            ! kill -0 "${pid##*.}" 2>/dev/null || [ "$before" = "$(size "$old")" ] || continue
        fi
        mv "$old" "$part" 2>/dev/null && return 0
    done
}

# Keeps this build and the newest other, and what a process runs from.
collect() {
    others=0
    # shellcheck disable=SC2045 # a name with a blank is no build
    for other in $(ls -t "$data"); do
        is_build "$other" && [ "$other" != "$build" ] && owned "$data/$other" || continue
        others=$((others + 1))
        [ "$others" -gt 1 ] || continue
        runs_from "$data/$other" || rm -rf "${data:?}/$other"
    done
}

# What was there before comes first, then what is sent.
from_start() {
    [ "$offset" -eq 0 ] || cat "$part"
    tee -a "$part"
}

# All of it. Succeeds when the program is in place.
receive() (
    LC_ALL=C
    export LC_ALL
    umask 077
    if [ "$place" != home ]; then
        mkdir -m 700 "$root" 2>/dev/null
        owned "$root" || { say "foreign=$root"; exit 1; }
        chmod 700 "$root"
    fi
    use_place "$place"
    dir=$data/$build/$target
    part=$dir/rbee.$name.$$.part
    new=$dir/rbee.$name.$$.new
    made=$(missing "$data"; missing "$state")
    said=$(mkdir -p "$dir" "$state" 2>&1) || give_up "failed=$dir" "$said"
    if [ -n "$made" ]; then
        # Who takes rbee away takes these away too.
        said=$( { printf '%s\n' "$made" >>"$data/made"; } 2>&1) ||
            give_up "failed=$data/made" "$said"
    fi
    find_hasher || give_up tools=sha256

    if [ "$again" = yes ]; then
        rm -f "$dir/rbee.$name".*.part
    else
        claim
    fi
    offset=$(size "$part")
    [ "$offset" -le "$sent" ] || {
        rm -f "$part"
        offset=0
    }
    if [ "$(free "$dir")" -lt $((need - offset / 1024)) ]; then
        left=$(free "$dir")
        rm -f "$part"
        unmake
        say "full=$left"
        exit 1
    fi
    say "ready=$offset"

    if [ "$packed" = gz ]; then
        # Unpacked while it arrives.
        said=$( { from_start | gzip -dc >"$new"; } 2>&1)
    else
        said=$(cat 2>&1 >>"$part") || give_up "failed=$part" "$said"
        [ "$(size "$part")" -ne "$sent" ] || mv "$part" "$new"
    fi
    real=$(digest "$new")
    if [ "$real" != "$digest" ] || [ "$(size "$new")" -ne "$bytes" ]; then
        [ -f "$part" ] || [ -f "$new" ] || give_up taken=1
        have=$(size "$part")
        case $said in
        # The other side is gone, and what is there is the beginning.
        *"unexpected end"*) [ "$have" -ge "$sent" ] || give_up "short=$have" "$said" ;;
        *) is_about_space "$said" && give_up "failed=$new" "$said" ;;
        esac
        [ "$packed" = gz ] || [ ! -f "$part" ] || give_up "short=$have"
        rm -f "$part"
        give_up "wrong=$real" "$said"
    fi
    chmod 755 "$new"
    said=$( { printf '%s\n' "$digest" >"$new.digest"; } 2>&1) &&
        mv -f "$new.digest" "$dir/rbee.sha256" || {
        rm -f "$new.digest"
        give_up "failed=$dir/rbee.sha256" "$said"
    }
    # A link never replaces: whoever runs from the file that is there keeps it, when it is the
    # right one.
    if ! ln "$new" "$dir/rbee" 2>/dev/null && [ "$(digest "$dir/rbee")" != "$digest" ]; then
        mv -f "$new" "$dir/rbee" || give_up "failed=$dir/rbee"
    fi
    rm -f "$new" "$part"
    collect
    say "done=$dir/rbee"
)
receive || exit 0

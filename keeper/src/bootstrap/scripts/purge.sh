# Takes away everything that rbee put here. Given: runtime (the directory of its sockets beside the
# state directory, or empty).

is_build() {
    case $1 in
    *[!0-9a-f]*) return 1 ;;
    ????????????????) return 0 ;;
    esac
    return 1
}

gone() { # PATH: ours, so it goes
    if owned "$1" || [ -f "$1" ]; then
        if rm -rf "$1"; then say "removed=$1"; else say "left=$1"; fi
    fi
}

# What hives keep in data and state; a keeper of the same user may keep more there.
purge_dirs() {
    beside=/dev/null
    owned "$root" && beside=$root/share/rbee/made
    made=$(sed -n '/^\//p' "$data/made" "$beside" 2>/dev/null)
    for entry in "$data"/*; do
        if is_build "${entry##*/}"; then gone "$entry"; fi
    done
    for entry in "$data/models" "$data/made" "$data/install.lock" "$state/run" \
        "$state/log"/agent.* "$state/log"/requests.jsonl*; do
        gone "$entry"
    done
    rmdir "$state/log" "$state" "$data" 2>/dev/null
    # What was made on the way to them, when nobody else uses it by now; the inner ones came first.
    printf '%s\n' "$made" | while read -r dir; do
        [ -n "$dir" ] && rmdir "$dir" 2>/dev/null && printf '\n%s removed=%s\n' "$marker" "$dir"
    done
    for entry in "$data" "$state"; do
        [ -d "$entry" ] && say "left=$entry"
    done
}

for from in "$data" "$root/share/rbee"; do
    running=$(ls -l /proc/[0-9]*/exe 2>/dev/null | grep -F -e "-> $from/" |
        sed -n 's|.*/proc/\([0-9]*\)/exe.*|\1|p' | sed -n 1p)
    if [ -n "$running" ]; then
        say "running=$running"
        exit 0
    fi
done
purge_dirs
if [ -n "$runtime" ] && owned "$runtime"; then
    gone "$runtime"
    rmdir "${runtime%/*}" 2>/dev/null
fi
[ ! -h "$root" ] && owned "$root" && gone "$root"
say end=1

# Says what this machine is. Given: build.

# The nearest directory above $1 that exists.
existing() {
    near=$1
    while [ ! -d "$near" ]; do
        near=${near%/*}
        [ -n "$near" ] || near=/
    done
    printf '%s' "$near"
}

# What a directory takes: programs (ok), files only (noexec), no file (readonly), no byte (full).
takes() {
    try=$1/.$marker
    if ! said=$( (umask 077 && : >"$try") 2>&1); then
        case $said in
        *[Nn]"o space"* | *quota*) printf full ;;
        *) printf readonly ;;
        esac
        return 0
    fi
    printf '#!/bin/sh\nexit 0\n' >"$try" 2>/dev/null
    if [ ! -s "$try" ]; then
        printf full
    elif chmod 700 "$try" 2>/dev/null && "$try" </dev/null >/dev/null 2>&1; then
        printf ok
    else
        printf noexec
    fi
    rm -f "$try"
}

# KiB that may still be written.
free() {
    # shellcheck disable=SC2046 # the words of the line are wanted
    set -- $(df -Pk "$1" 2>/dev/null | sed -n '$p')
    printf '%s' "${4:-}"
}

# What is known of a place for programs: its name, then the data and the state directory. Succeeds
# when it does for both.
look() {
    say "$1.data=$2"
    say "$1.state=$3"
    near=$(existing "$2")
    taken=$(takes "$near")
    say "$1.takes=$taken"
    say "$1.free=$(free "$near")"
    there=$(existing "$3")
    kept=$taken
    [ "$there" = "$near" ] || kept=$(takes "$there")
    say "$1.keeps=$kept"
    for program in "$2"/*/*/rbee; do
        [ -f "$program" ] || continue
        dir=${program%/rbee}
        of=${dir%/*}
        recorded=$(sed -n 1p "$dir/rbee.sha256" 2>/dev/null | cut -c1-64)
        real=
        [ "${of##*/}" = "$build" ] && real=$(digest "$program")
        say "$1.build=${of##*/} ${dir##*/} ${recorded:--} ${real:--}"
    done
    for part in "$2/$build"/*/rbee.*.part; do
        [ -f "$part" ] || continue
        dir=${part%/*}
        name=${part##*/rbee.}
        say "$1.part=${dir##*/} ${name%%.*} $(size "$part")"
    done
    [ "$taken$kept" = okok ]
}

# All of it.
look_around() (
    LC_ALL=C
    export LC_ALL
    # shellcheck disable=SC2046 # two words
    set -- $(uname -sm)
    say "system=${1:-}"
    say "machine=${2:-}"
    say "uid=$uid"
    say "home=$home"
    gnu=$(getconf GNU_LIBC_VERSION 2>/dev/null </dev/null)
    say "getconf=$gnu"
    [ -n "$gnu" ] || say "ldd=$(ldd --version 2>&1 </dev/null | sed -n 1,2p | tr '\n' ' ')"
    for loader in /lib/ld-*.so* /lib64/ld-*.so*; do
        [ -e "$loader" ] && say "loader=$loader"
    done
    for tool in sha256sum shasum openssl gzip; do
        command -v "$tool" >/dev/null 2>&1 && say "tool=$tool"
    done
    [ -r /proc/driver/nvidia/version ] && say "driver=$(sed -n 1p /proc/driver/nvidia/version)"
    if command -v nvidia-smi >/dev/null 2>&1; then
        # A driver in trouble never answers.
        bound=$(command -v timeout >/dev/null 2>&1 && printf 'timeout 5')
        say "compute=$($bound nvidia-smi --query-gpu=compute_cap --format=csv,noheader \
            2>/dev/null </dev/null | sed -n 1,32p | tr '\n' ' ')"
    fi
    [ -n "$home" ] && look home "$data" "$state" && return 0
    # The directory beside the home, as it is or would be made.
    if ! owned "$root" && { [ -e "$root" ] || [ -h "$root" ]; }; then
        say foreign="$root"
    else
        look beside "$root/share/rbee" "$root/state/rbee"
    fi
)
look_around
say end=1

# Finds an installed program: this build's, else the newest. Given: build, target (of the last time,
# or empty).

machine=$(uname -m)
[ "$machine" = arm64 ] && machine=aarch64

newest() {
    # shellcheck disable=SC2012 # the names are ours
    ls -t "$@" 2>/dev/null | sed -n 1p
}

# Sets program, and uses the place that it is in.
find_program() {
    program=
    beside=
    owned "$root" && beside=$root/share/rbee
    for pattern in "$build/${target:-$machine-*}" "$build/$machine-*" "*/$machine-*"; do
        for at in "$data" "$beside"; do
            [ -n "$at" ] || continue
            # shellcheck disable=SC2086 # the pattern is one
            program=$(IFS= && newest "$at"/$pattern/rbee)
            [ -n "$program" ] && break 2
        done
    done
    if [ -n "$program" ] && [ "$at" != "$data" ]; then
        if [ -d "$root/state" ]; then use_place everything; else use_place programs; fi
    fi
}

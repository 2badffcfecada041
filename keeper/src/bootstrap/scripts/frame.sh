# What every script begins with. Given: marker, shared (the directory that everybody may write to).

# Only lines with the marker are read. The newline in front ends what a login may have left open.
say() { printf '\n%s %s\n' "$marker" "$*"; }

# Sets hasher to the first program that computes a SHA-256. openssl uses instructions of the processor
# that others leave alone.
find_hasher() {
    for hasher in "openssl dgst -sha256 -r" sha256sum "shasum -a 256"; do
        case $($hasher </dev/null 2>/dev/null) in
        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855*) return 0 ;;
        esac
    done
    return 1
}

# The SHA-256 of a file, or nothing.
digest() {
    [ -f "$1" ] || return 0
    [ -n "${hasher:-}" ] || find_hasher || return 0
    $hasher <"$1" 2>/dev/null | cut -c1-64
}

# Bytes of a file; 0 when it is not there.
size() {
    # shellcheck disable=SC2046 # some programs indent the number
    [ -f "$1" ] && set -- $(wc -c <"$1") || set -- 0
    printf '%s' "$1"
}

# Whether $1 is a directory, no link, of this user.
owned() {
    [ -d "$1" ] && [ ! -h "$1" ] || return 1
    # shellcheck disable=SC2012,SC2046 # the words of the line are wanted; a name comes last
    set -- $(ls -ldn "$1" 2>/dev/null)
    [ "${3:-}" = "$uid" ]
}

# The absolute path $1, else $2: a relative one would be another directory elsewhere.
absolute() {
    case $1 in
    /*) printf '%s' "$1" ;;
    *) printf '%s' "$2" ;;
    esac
}

# Finds data and state as every part of rbee does.
find_dirs() {
    data=$(absolute "${XDG_DATA_HOME:-}" "$home/.local/share")/rbee
    state=$(absolute "${XDG_STATE_HOME:-}" "$home/.local/state")/rbee
}

# Moves what a home does not take into the directory beside it; each part of rbee follows.
use_place() { # home, programs or everything
    case $1 in
    programs)
        XDG_DATA_HOME=$root/share
        export XDG_DATA_HOME
        ;;
    everything)
        XDG_DATA_HOME=$root/share XDG_STATE_HOME=$root/state
        export XDG_DATA_HOME XDG_STATE_HOME
        ;;
    esac
    find_dirs
}

uid=$(id -u)
home=${HOME:-}
root=$shared/rbee-$uid
find_dirs

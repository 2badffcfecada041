# Verifies the installed program and starts its agent. Given: place, build, target, digest,
# lifetime (persistent or ephemeral).
use_place "$place"
if [ "$place" != home ] && ! owned "$root"; then
    say "foreign=$root"
    exit 0
fi
program=$data/$build/$target/rbee
recorded=$(sed -n 1p "$data/$build/$target/rbee.sha256" 2>/dev/null)
real=$(digest "$program")
if [ "$real" != "$digest" ] || [ "$recorded" != "$digest" ]; then
    say "changed=${real:--}"
    exit 0
fi
said=$("$program" agent start --lifetime "$lifetime" </dev/null)
status=$?
say "started=$status $said"

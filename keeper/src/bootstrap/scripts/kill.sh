# Kills an agent that does not react. Given: pid.
find_program
if [ -z "$program" ]; then
    say none=1
    exit 0
fi
"$program" agent kill --pid "$pid" </dev/null
say "killed=$?"

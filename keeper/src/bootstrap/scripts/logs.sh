# Prints the last lines of a log. Given: kind (agent or stderr), lines, follow (yes or no).

newest() {
    if [ "$kind" = agent ]; then ls "$state/log/agent.jsonl" 2>/dev/null
    else ls "$state/log/agent.stderr" 2>/dev/null; fi
}

# Prints whole lines as they come; a file that became shorter is a new one.
follow_on() {
    while :; do
        have=$(wc -l <"$file")
        if [ "$have" -gt "$seen" ]; then
            sed -n "$((seen + 1)),${have}p" "$file"
            seen=$have
        elif [ "$have" -lt "$seen" ]; then
            seen=0
            continue
        else
            next=$(newest)
            if [ -n "$next" ] && [ "$next" != "$file" ]; then
                file=$next
                seen=0
                continue
            fi
        fi
        sleep 1
    done
}

if [ -n "$(ls -d "$root"/state/rbee/log 2>/dev/null)" ] && owned "$root"; then
    use_place everything
fi
file=$(newest)
if [ -z "$file" ]; then
    say "none=$state/log"
    exit 0
fi
say "file=$file"
seen=$(wc -l <"$file")
from=$((seen - lines + 1))
[ "$from" -ge 1 ] || from=1
if [ "$from" -le "$seen" ]; then
    sed -n "$from,${seen}p" "$file"
fi
if [ "$follow" = yes ]; then
    follow_on &
    follower=$!
    # The end of the connection is the end of this input.
    cat >/dev/null
    kill "$follower" 2>/dev/null
fi
exit 0

# Says whether a guard may live here: one that ends takes its socket away.
for socket in "$state"/run/w/*/g.sock "/tmp/rbee-$uid"/*/w/*/g.sock \
    "$root/state/rbee"/run/w/*/g.sock; do
    if [ -S "$socket" ]; then
        say orphan="$socket"
        break
    fi
done
say end=1

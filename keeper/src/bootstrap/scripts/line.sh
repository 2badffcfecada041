# Takes two samples of nothing but comments, each when the one before has arrived. Given: few, many
# (their bytes).
say ready=1
for bytes in "$few" "$many"; do
    # What is not taken would be read as a script.
    head -c "$bytes" >/dev/null || exit 0
    say "taken=$bytes"
done

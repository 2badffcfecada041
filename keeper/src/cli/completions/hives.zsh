
# The names of hives, where one is to be typed.
_rbee_hives() {
    local -aU names
    names=(local ${(f)"$(rbee hive list --names 2>/dev/null)"})
    compadd -a names
}

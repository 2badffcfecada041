# Says for how many seconds the machine and one process have been up. Given: pid.

ticks=$(getconf CLK_TCK 2>/dev/null) || ticks=100
if read -r up _ 2>/dev/null </proc/uptime; then
    up=${up%%.*}
    say "machine=$up"
    # Behind the name, which may hold anything, the start is the 20th field (proc_pid_stat(5)).
    stat=$(cat "/proc/$pid/stat" 2>/dev/null)
    # shellcheck disable=SC2086 # its fields are wanted
    set -- ${stat##*) }
    [ $# -ge 20 ] && say "process=$((up - ${20} / ticks))"
fi

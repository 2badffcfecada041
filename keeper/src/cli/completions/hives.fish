
# The names of hives, where one is to be typed.
function __rbee_hives
    echo local
    rbee hive list --names 2>/dev/null
end
complete -c rbee -n "not __fish_rbee_using_subcommand hive" -l hive -x -a "(__rbee_hives)"
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from show remove install start stop logs doctor" -f -a "(__rbee_hives)"


# The names of hives, where one is to be typed.
_rbee_hives() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    case " ${COMP_WORDS[*]:1:2} " in
    " hive show " | " hive remove " | " hive install " | " hive start " | " hive stop " | \
        " hive logs " | " hive doctor ")
        [[ $COMP_CWORD -ge 3 && $word != -* ]] && before=--hive
        ;;
    esac
    if [[ $before == --hive ]]; then
        mapfile -t COMPREPLY < <(compgen -W "local $(rbee hive list --names 2>/dev/null)" -- "$word")
    else
        _rbee "$@"
    fi
}
complete -F _rbee_hives -o bashdefault -o default rbee

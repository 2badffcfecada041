# Waits until a process is no agent any more. Given: pid.

# A zombie has no command line, and a number that was given to another process has another one.
serves() {
    case $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) in
    */rbee" agent serve "*) return 0 ;;
    esac
    return 1
}
say waits=1
while serves; do
    # Not every sleep knows parts of a second.
    sleep 0.05 2>/dev/null || sleep 1
done
say ended=1

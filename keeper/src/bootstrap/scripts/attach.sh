# Becomes the bridge to the agent.
find_program
if [ -z "$program" ]; then
    say none=1
    exit 0
fi
exec "$program" agent attach --marker "$marker"

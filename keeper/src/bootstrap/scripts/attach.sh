# Becomes the bridge to the agent.
find_program
if [ -n "$program" ]; then
    exec "$program" agent attach --marker "$marker"
fi
say none=1

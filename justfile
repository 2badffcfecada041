# The same commands as in README.md and CONTRIBUTING.md, for those who have just.

# everything that CI runs
check:
    scripts/check

# the program, answering a question
demo:
    cargo run --release -- run "What is rbee?"

# format, then apply what clippy can mend
fix:
    cargo fmt --all
    cargo clippy --release --workspace --all-targets --fix --allow-dirty

# the manual pages, after a change of the command line
man:
    cargo run --release -- man --dir man

# the local figures of README.md, on this machine
bench:
    cargo bench --workspace --bench local

//! The committed manual is the one that this program writes.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn the_manual_is_fresh() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../man");
    let pages = keeper::cli::man::pages().unwrap();
    for (name, text) in &pages {
        let committed = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        assert!(
            committed == *text,
            "man/{name} is old; run `cargo run --release -- man --dir man`"
        );
    }
    let generated: BTreeSet<String> = pages.into_iter().map(|(name, _)| name).collect();
    let committed: BTreeSet<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".1"))
        .collect();
    assert_eq!(committed, generated, "no page of a command that is gone");
}

#[test]
fn the_manual_names_every_exit_status() {
    let pages = keeper::cli::man::pages().unwrap();
    let (_, program) = pages.first().unwrap();
    for row in keeper::exit::TABLE {
        assert!(program.contains(&format!(".B {}\n", row.exit.number())), "{:?}", row.exit);
        assert!(program.contains(row.meaning));
    }
}

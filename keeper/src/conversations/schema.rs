//! The tables of the file, one step a version: a step that was published is never changed.

use rusqlite::{Connection, TransactionBehavior};

/// "rbee" as SQLite's application id: a file of another program is told from an old one of ours.
pub const APPLICATION: i64 = 0x7262_6565;

/// What makes version 1 of nothing, version 2 of 1, and so on.
const STEPS: &[&str] = &["
    CREATE TABLE conversations (
        id INTEGER PRIMARY KEY,
        title TEXT NOT NULL,
        -- whether the person chose the title
        named INTEGER NOT NULL DEFAULT 0,
        model TEXT NOT NULL,
        hive TEXT,
        settings TEXT NOT NULL,
        -- the newest turn of the branch that goes on
        last INTEGER,
        created_ms INTEGER NOT NULL,
        changed_ms INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX conversations_by_change ON conversations (changed_ms DESC, id DESC);
    CREATE TABLE turns (
        id INTEGER PRIMARY KEY,
        conversation INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        parent INTEGER,
        question TEXT NOT NULL,
        answer TEXT NOT NULL,
        reasoning TEXT NOT NULL,
        model TEXT NOT NULL,
        place TEXT,
        ending TEXT NOT NULL,
        asked_ms INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX turns_of_conversation ON turns (conversation);
    CREATE VIRTUAL TABLE words USING fts5 (
        question, answer, content = 'turns', content_rowid = 'id',
        tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
    );
    INSERT INTO words (words, rank) VALUES ('secure-delete', 1);
    CREATE TRIGGER turn_is_added AFTER INSERT ON turns BEGIN
        INSERT INTO words (rowid, question, answer) VALUES (new.id, new.question, new.answer);
    END;
    CREATE TRIGGER turn_is_removed AFTER DELETE ON turns BEGIN
        INSERT INTO words (words, rowid, question, answer)
            VALUES ('delete', old.id, old.question, old.answer);
    END;
    CREATE TRIGGER turn_changes AFTER UPDATE OF question, answer ON turns BEGIN
        INSERT INTO words (words, rowid, question, answer)
            VALUES ('delete', old.id, old.question, old.answer);
        INSERT INTO words (rowid, question, answer) VALUES (new.id, new.question, new.answer);
    END;
"];

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One of this version, or an older one.
    Ours,
    /// One of a newer rbee; its version.
    Newer(i64),
    /// Another program's.
    Foreign,
}

/// The version that this build writes.
pub fn version() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// Looks at a file without changing it.
pub fn kind(connection: &Connection) -> rusqlite::Result<Kind> {
    // One view for all that is read: a program that makes the file between two of these would have
    // it look like a foreign one.
    let view = connection.unchecked_transaction()?;
    let number = |name| view.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (found, application) = (number("user_version")?, number("application_id")?);
    let tables: i64 = view.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (application, found) {
        (0, 0) if tables == 0 => Kind::Ours,
        (APPLICATION, found) if found > version() => Kind::Newer(found),
        (APPLICATION, _) => Kind::Ours,
        _ => Kind::Foreign,
    })
}

/// Brings a file to this version; another program may be doing the same now.
pub fn bring_up(connection: &mut Connection) -> rusqlite::Result<()> {
    let found = |connection: &Connection| -> rusqlite::Result<i64> {
        connection.pragma_query_value(None, "user_version", |row| row.get(0))
    };
    if found(connection)? >= version() {
        return Ok(());
    }
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another program may have been faster.
    let done = usize::try_from(found(&change)?).unwrap_or(usize::MAX);
    for step in STEPS.iter().skip(done) {
        change.execute_batch(step)?;
    }
    change.pragma_update(None, "application_id", APPLICATION)?;
    change.pragma_update(None, "user_version", version().max(found(&change)?))?;
    change.commit()
}

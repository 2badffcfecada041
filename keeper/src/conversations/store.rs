//! The file of conversations: opened with care, written in small transactions, read within bounds.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, TransactionBehavior, params,
};
use wire::text::{one_line, shell_word};
use wire::{Code, Fault};

use super::schema::{self, Kind};
use super::{
    Conversation, ConversationId, Entry, Head, MAX_LISTED, MAX_OPENED_BYTES, MAX_SEARCH_BYTES,
    MAX_TITLE_BYTES, MAX_TURNS, Said, TurnId,
};

/// How long a file that somebody else writes to is waited for.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// Between two attempts at what SQLite does not wait for.
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// Places of a search that are looked at.
const MAX_HITS: usize = 500;
/// Names that are tried for a file that is set aside.
const MAX_ASIDE: usize = 1000;
/// Bytes of a place where something was found.
const MAX_FOUND_BYTES: usize = 160;

/// The open file.
#[derive(Debug)]
pub struct Store {
    pub(super) connection: Connection,
    path: PathBuf,
}

/// An open file, and what somebody should know of it.
#[derive(Debug)]
pub struct Opened {
    /// The file.
    pub store: Store,
    /// What happened on the way: a broken file was set aside.
    pub note: Option<Fault>,
}

/// Why a file cannot be opened.
enum Trouble {
    /// Its content is no database: it is set aside.
    Broken(rusqlite::Error),
    /// It stays as it is.
    Other(Fault),
}

impl Store {
    /// Opens the file, or makes it. A broken one gets another name, and a new one is made; one of a
    /// newer version is not touched.
    ///
    /// # Errors
    /// `VERSION_MISMATCH` for a newer or foreign file, `IO_ERROR` and `DISK_FULL`; each names it.
    pub fn open(path: &Path, patience: Duration) -> Result<Opened, Fault> {
        if let Some(dir) = path.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(|error| of_system(path, error))?;
        }
        let seen = fs::metadata(path).ok().map(|it| it.ino());
        match Self::try_open(path, patience) {
            Ok(store) => Ok(Opened { store, note: None }),
            Err(Trouble::Other(fault)) => Err(fault),
            Err(Trouble::Broken(error)) => {
                let aside = set_aside(path, seen).map_err(|error| of_system(path, error))?;
                let store = Self::try_open(path, patience).map_err(|trouble| match trouble {
                    Trouble::Broken(error) => failed(path, error),
                    Trouble::Other(fault) => fault,
                })?;
                let message = match &aside {
                    Some(aside) => format!(
                        "the file of conversations was broken; it is {} now, and a new one begins",
                        aside.display()
                    ),
                    None => "the file of conversations was broken; a new one is there".to_owned(),
                };
                let mut note = Fault::new(Code::Io, message).cause(error);
                if let Some(aside) = aside {
                    let aside = shell_word(&aside.to_string_lossy());
                    note = note.hint(format!("sqlite3 {aside} .recover"));
                }
                Ok(Opened { store, note: Some(note) })
            }
        }
    }

    fn try_open(path: &Path, patience: Duration) -> Result<Self, Trouble> {
        let trouble = |error| of_sqlite(path, error);
        // Made here, so that it is this user's alone before SQLite writes to it.
        let made = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        made.and_then(|file| private(&file))
            .map_err(|error| Trouble::Other(of_system(path, error)))?;
        // Nothing is written before it is known whose it is: closing a file that was opened to be
        // written would move what another program left in its log.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let look = Connection::open_with_flags(path, flags).map_err(trouble)?;
        look.busy_timeout(patience).map_err(trouble)?;
        match schema::kind(&look).map_err(trouble)? {
            Kind::Ours => {}
            Kind::Newer(found) => return Err(Trouble::Other(newer(path, found))),
            Kind::Foreign => return Err(Trouble::Other(foreign(path))),
        }
        drop(look);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(trouble)?;
        connection.busy_timeout(patience).map_err(trouble)?;
        let set = |name: &str, value: &str| connection.pragma_update(None, name, value);
        patiently(patience, || set("journal_mode", "wal")).map_err(trouble)?;
        set("synchronous", "normal").map_err(trouble)?;
        set("foreign_keys", "on").map_err(trouble)?;
        set("secure_delete", "on").map_err(trouble)?;
        // What the file says is data, whoever wrote it.
        set("trusted_schema", "off").map_err(trouble)?;
        schema::bring_up(&mut connection).map_err(trouble)?;
        Ok(Self { connection, path: path.to_owned() })
    }

    fn failed(&self, error: rusqlite::Error) -> Fault {
        failed(&self.path, error)
    }

    /// Saves what is known of a conversation and some of its turns, all or nothing. What was saved
    /// before is replaced. It is not done, and `false`, where a turn goes on from one that is not
    /// in the file: another program deleted the conversation.
    ///
    /// # Errors
    /// `TOO_LARGE`; those of [`Self::open`].
    pub fn save(&mut self, head: &Head, turns: &[Said], now_ms: u64) -> Result<bool, Fault> {
        turns.iter().try_for_each(Said::check)?;
        self.write(head, turns, now_ms).map_err(|error| self.failed(error))
    }

    fn write(&mut self, head: &Head, turns: &[Said], now_ms: u64) -> rusqlite::Result<bool> {
        let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let settings = json(&head.settings);
        let title = one_line(&head.title, MAX_TITLE_BYTES);
        change
            .prepare(
                "INSERT INTO conversations
                 (id, title, model, hive, settings, last, created_ms, changed_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
             ON CONFLICT (id) DO UPDATE SET
                 title = iif(named, title, excluded.title), model = excluded.model,
                 hive = excluded.hive, settings = excluded.settings, last = excluded.last,
                 changed_ms = excluded.changed_ms",
            )?
            .execute(params![
                head.id.0,
                title,
                head.model.to_string(),
                head.hive.as_ref().map(ToString::to_string),
                settings,
                head.last.map(|id| id.0),
                now_ms,
            ])?;
        for said in turns {
            if let Some(TurnId(parent)) = said.parent
                && !change.prepare("SELECT 1 FROM turns WHERE id = ?1")?.exists([parent])?
            {
                return Ok(false);
            }
            let place = said.place.as_ref().map(json);
            change
                .prepare(
                    "INSERT INTO turns (id, conversation, parent, question, answer, reasoning,
                         model, place, ending, asked_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                     ON CONFLICT (id) DO UPDATE SET
                         answer = excluded.answer, reasoning = excluded.reasoning,
                         place = excluded.place, ending = excluded.ending
                     WHERE conversation = excluded.conversation",
                )?
                .execute(params![
                    said.id.0,
                    head.id.0,
                    said.parent.map(|id| id.0),
                    said.question,
                    said.answer,
                    said.reasoning,
                    said.model.to_string(),
                    place,
                    json(&said.end),
                    now_ms,
                ])?;
        }
        change.commit().map(|()| true)
    }

    /// The conversations in whose titles or texts `search` is found, newest first; all of them when
    /// it is empty. At most [`MAX_LISTED`].
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn list(&self, search: &str) -> Result<Vec<Entry>, Fault> {
        let search = one_line(search.trim(), MAX_SEARCH_BYTES);
        self.found(search.trim()).map_err(|error| self.failed(error))
    }

    fn found(&self, search: &str) -> rusqlite::Result<Vec<Entry>> {
        let hits = self.hits(search)?;
        let lowered = search.to_lowercase();
        let mut query = self.connection.prepare(
            "SELECT id, title, model, changed_ms,
                 (SELECT count(*) FROM turns WHERE conversation = conversations.id)
             FROM conversations ORDER BY changed_ms DESC, id DESC",
        )?;
        let mut rows = query.query([])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let (id, title): (i64, String) = (row.get(0)?, row.get(1)?);
            if !title.to_lowercase().contains(&lowered) && !hits.contains_key(&id) {
                continue;
            }
            entries.push(Entry {
                id: ConversationId(id),
                title: one_line(&title, MAX_TITLE_BYTES),
                model: one_line(&row.get::<_, String>(2)?, MAX_TITLE_BYTES),
                turns: u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0),
                changed_ms: u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
                found: hits.get(&id).cloned(),
            });
            if entries.len() == MAX_LISTED {
                break;
            }
        }
        Ok(entries)
    }

    /// Conversations in whose texts the words are, and a place of each.
    fn hits(&self, search: &str) -> rusqlite::Result<HashMap<i64, String>> {
        let mut hits = HashMap::new();
        let Some(words) = words(search) else { return Ok(hits) };
        let mut query = self.connection.prepare(
            "SELECT turns.conversation, snippet(words, -1, '', '', '…', 12)
             FROM words JOIN turns ON turns.id = words.rowid
             WHERE words MATCH ?1 ORDER BY rank LIMIT ?2",
        )?;
        let mut rows = query.query(params![words, i64::try_from(MAX_HITS).unwrap_or(0)])?;
        while let Some(row) = rows.next()? {
            let place: String = row.get(1)?;
            hits.entry(row.get(0)?).or_insert_with(|| one_line(place.trim(), MAX_FOUND_BYTES));
        }
        Ok(hits)
    }

    /// A conversation, with the branch that goes on; its newest turns as far as the bounds allow.
    ///
    /// # Errors
    /// `NOT_FOUND`; those of [`Self::open`].
    pub fn load(&self, id: ConversationId) -> Result<Conversation, Fault> {
        let found = self.read(id).map_err(|error| self.failed(error))?;
        found.ok_or_else(|| Fault::new(Code::NotFound, "that conversation was deleted"))
    }

    fn read(&self, id: ConversationId) -> rusqlite::Result<Option<Conversation>> {
        let sql = "SELECT id, title, model, hive, settings, last FROM conversations WHERE id = ?1";
        let head = self.connection.query_row(sql, [id.0], head).optional()?;
        let Some(head) = head else { return Ok(None) };
        // The bound also ends what goes in a circle.
        let mut query = self.connection.prepare(
            "WITH RECURSIVE branch (id, parent, depth) AS (
                 SELECT id, parent, 0 FROM turns WHERE id = ?1 AND conversation = ?2
                 UNION ALL
                 SELECT turns.id, turns.parent, depth + 1 FROM turns, branch
                 WHERE turns.id = branch.parent AND conversation = ?2 AND depth < ?3
             )
             SELECT turns.id, turns.parent, question, answer, reasoning, model, place, ending
             FROM branch JOIN turns ON turns.id = branch.id ORDER BY depth",
        )?;
        let bound = i64::try_from(MAX_TURNS).unwrap_or(0);
        let mut rows = query.query(params![head.last.map(|last| last.0), id.0, bound])?;
        let (mut turns, mut bytes, mut is_cut) = (Vec::new(), 0_usize, false);
        while let Some(row) = rows.next()? {
            let said = said(row)?;
            bytes = bytes.saturating_add(said.bytes());
            if turns.len() == MAX_TURNS || bytes > MAX_OPENED_BYTES {
                is_cut = true;
                break;
            }
            turns.push(said);
        }
        turns.reverse();
        Ok(Some(Conversation { head, turns, is_cut }))
    }

    /// Gives a conversation a title that the person chose.
    ///
    /// # Errors
    /// `NOT_FOUND`; those of [`Self::open`].
    pub fn rename(&self, id: ConversationId, title: &str) -> Result<(), Fault> {
        let title = one_line(title.trim(), MAX_TITLE_BYTES);
        let sql = "UPDATE conversations SET title = ?2, named = 1 WHERE id = ?1";
        let changed = self.connection.execute(sql, params![id.0, title]);
        self.one(changed)
    }

    /// Deletes a conversation with all its branches, and overwrites what it took.
    ///
    /// # Errors
    /// `NOT_FOUND`; those of [`Self::open`].
    pub fn delete(&self, id: ConversationId) -> Result<(), Fault> {
        let changed = self.connection.execute("DELETE FROM conversations WHERE id = ?1", [id.0]);
        self.one(changed)?;
        // What was written before is in the log until that is emptied; another program that reads
        // may keep it from that for a while.
        let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        Ok(())
    }

    fn one(&self, changed: rusqlite::Result<usize>) -> Result<(), Fault> {
        match changed {
            Ok(0) => Err(Fault::new(Code::NotFound, "that conversation was deleted")),
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }
}

/// What FTS5 looks for: all words, each as the beginning of one. None when there is no word.
fn words(search: &str) -> Option<String> {
    let words: Vec<String> = search
        .split_whitespace()
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .map(|word| format!("\"{}\"*", word.replace('"', "\"\"")))
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Plain data has JSON.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A text of a row as what it stands for.
fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| unreadable(column))
}

fn unreadable(column: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(
        column,
        "a text of another form".into(),
        rusqlite::types::Type::Text,
    )
}

fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    let hive: Option<String> = row.get(3)?;
    let settings: String = row.get(4)?;
    Ok(Head {
        id: ConversationId(row.get(0)?),
        title: one_line(&row.get::<_, String>(1)?, MAX_TITLE_BYTES),
        model: parsed(row, 2)?,
        // A hive's name that is none any more says nothing.
        hive: hive.and_then(|name| name.parse().ok()),
        settings: serde_json::from_str(&settings).map_err(|_| unreadable(4))?,
        last: row.get::<_, Option<i64>>(5)?.map(TurnId),
    })
}

fn said(row: &Row<'_>) -> rusqlite::Result<Said> {
    let place: Option<String> = row.get(6)?;
    let end: String = row.get(7)?;
    Ok(Said {
        id: TurnId(row.get(0)?),
        parent: row.get::<_, Option<i64>>(1)?.map(TurnId),
        question: row.get(2)?,
        answer: row.get(3)?,
        reasoning: row.get(4)?,
        model: parsed(row, 5)?,
        place: place.and_then(|place| serde_json::from_str(&place).ok()),
        end: serde_json::from_str(&end).unwrap_or_default(),
    })
}

/// Tries again while others use the file. SQLite waits by itself, except where two who each hold
/// what the other wants would wait for ever: such a step fails at once.
fn patiently<T>(
    patience: Duration,
    mut step: impl FnMut() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let begun = Instant::now();
    loop {
        match step() {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && begun.elapsed() < patience =>
            {
                std::thread::park_timeout(LOCK_PAUSE);
            }
            done => return done,
        }
    }
}

/// Takes rights of others away, which the file may have from a restored backup.
fn private(file: &File) -> io::Result<()> {
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Gives a broken file another name, never that of a file that is there; none when another program
/// was faster.
fn set_aside(path: &Path, seen: Option<u64>) -> io::Result<Option<PathBuf>> {
    if fs::metadata(path).ok().map(|it| it.ino()) != seen {
        return Ok(None);
    }
    let named = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    for number in 1..=MAX_ASIDE {
        let aside = named(&format!(".broken-{number}"));
        match fs::hard_link(path, &aside) {
            Ok(()) => {
                fs::remove_file(path)?;
                for log in ["-wal", "-shm"] {
                    // They are there only when somebody was interrupted.
                    let _ = fs::rename(named(log), named(&format!(".broken-{number}{log}")));
                }
                return Ok(Some(aside));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many broken files lie beside it"))
}

pub(super) fn of_system(path: &Path, error: io::Error) -> Fault {
    let message = format!("conversations cannot be kept in {}", path.display());
    let full = error.kind() == io::ErrorKind::StorageFull;
    Fault::new(if full { Code::DiskFull } else { Code::Io }, message).cause(error)
}

fn newer(path: &Path, found: i64) -> Fault {
    let (known, shown) = (schema::version(), path.display());
    let word = shell_word(&path.to_string_lossy());
    let message = format!("{shown} is of a newer rbee (version {found}, this one knows {known})");
    Fault::new(Code::VersionMismatch, message)
        .cause("it is left as it is, and nothing is saved")
        .hint(format!("mv {word} {word}.newer"))
}

fn foreign(path: &Path) -> Fault {
    let word = shell_word(&path.to_string_lossy());
    Fault::new(Code::VersionMismatch, format!("{} is another program's file", path.display()))
        .cause("it is left as it is, and nothing is saved")
        .hint(format!("mv {word} {word}.other"))
}

fn of_sqlite(path: &Path, error: rusqlite::Error) -> Trouble {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Trouble::Broken(error),
        _ => Trouble::Other(failed(path, error)),
    }
}

/// What a person can do about it.
pub(super) fn failed(path: &Path, error: rusqlite::Error) -> Fault {
    let shown = path.display();
    let word = shell_word(&path.to_string_lossy());
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Fault::new(Code::Io, format!("conversations are not saved: {shown} is locked"))
                .cause(error)
                .hint(format!("fuser -v {word}"))
        }
        Some(ErrorCode::DiskFull) => {
            Fault::new(Code::DiskFull, format!("conversations are not saved: no space for {shown}"))
                .cause(error)
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            Fault::new(Code::Io, format!("conversations are not saved: {shown} is broken"))
                .cause(error)
                .hint(format!("sqlite3 {word} .recover"))
        }
        _ => Fault::new(Code::Io, format!("the conversations in {shown} cannot be used"))
            .cause(error),
    }
}

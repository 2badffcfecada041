//! A copy of the file of conversations.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::params;
use wire::Fault;

use super::store::{Store, failed, of_system};

impl Store {
    /// Writes all of it into a new file, as it is at one moment, whoever else writes meanwhile.
    ///
    /// # Errors
    /// `IO_ERROR` and `DISK_FULL`.
    pub fn copy_to(&self, path: &Path) -> Result<(), Fault> {
        let made = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
        made.map_err(|error| of_system(path, error))?;
        let place = path.to_string_lossy();
        let copied = self.connection.execute("VACUUM INTO ?1", params![place.as_ref()]);
        copied.map(|_| ()).map_err(|error| failed(path, error))
    }
}

//! What a command says on standard error of hives that it needs but was not asked about: only what
//! takes long or is not as one might expect.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use wire::{HiveName, text};

use super::progress::bytes;
use super::style::Style;
use crate::bootstrap::{Step, Witness};

/// Bytes of one line.
const MAX_LINE_BYTES: usize = 600;

/// Tells such things in a muted line each, and each only once.
#[derive(Debug)]
pub struct Aside {
    style: Style,
    /// Hives whose upload was told.
    uploads: Mutex<BTreeSet<HiveName>>,
}

impl Aside {
    /// With the colours of standard error.
    pub fn new(style: Style) -> Self {
        Self { style, uploads: Mutex::default() }
    }

    /// The words for a step; none for what needs none.
    fn words(&self, hive: &HiveName, step: &Step) -> Option<String> {
        match step {
            Step::Installing { total, .. } => {
                let mut told = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
                let words = || format!("uploading rbee, {}…", bytes(*total));
                told.insert(hive.clone()).then(words)
            }
            Step::Starting => Some("starting the agent…".to_owned()),
            Step::Note(words) => Some(words.clone()),
            Step::Connecting | Step::Probing | Step::Online => None,
        }
    }
}

impl Witness for Aside {
    fn sees(&self, hive: &HiveName, step: &Step) {
        let Some(words) = self.words(hive, step) else { return };
        let line = text::one_line(&format!("{hive}: {words}"), MAX_LINE_BYTES);
        // When standard error is closed, nobody wants asides.
        let _ = writeln!(io::stderr().lock(), "{}", self.style.muted(&line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_long_is_told_and_an_upload_once() {
        let aside = Aside::new(Style::plain());
        let pc: HiveName = "pc".parse().unwrap();
        assert_eq!(aside.words(&pc, &Step::Connecting), None);
        let upload = |done| Step::Installing { done, total: 3 << 20 };
        assert!(aside.words(&pc, &upload(0)).unwrap().contains("3.0 MiB"));
        assert_eq!(aside.words(&pc, &upload(1 << 20)), None);
        assert_eq!(aside.words(&pc, &Step::Note("slow".into())).unwrap(), "slow");
    }
}

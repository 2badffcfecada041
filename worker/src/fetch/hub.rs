//! The hub: what it tells of a repository, its files as streams, and its errors as faults.

use std::error::Error;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use hf_hub::{HFClient, HFError};
use wire::pull::{FileName, HubSource, Sha256};
use wire::{Code, Fault, limits, text};

/// Where models are when nobody says otherwise.
const ENDPOINT: &str = "https://huggingface.co";
/// What hf-hub makes no header of. Without any token it would take one of its own accord, from the
/// environment or from a file of whoever runs this; no header can have a line's end in it.
const NO_TOKEN: &str = "\n";
/// Bytes of one cause of a fault.
const MAX_CAUSE_BYTES: usize = 200;

/// The bytes of a file as they come.
pub type Content = Box<dyn Stream<Item = Result<Bytes, HFError>> + Send + Unpin>;

/// One repository of a hub.
pub struct Hub {
    repo: String,
    source: HubSource,
    owner: String,
    name: String,
    client: HFClient,
}

/// A file as the hub tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Its name.
    pub name: FileName,
    /// Its length in bytes, where it is told.
    pub bytes: Option<u64>,
    /// Its digest, where the hub keeps it as a large file.
    pub sha256: Option<Sha256>,
}

/// What a repository has.
#[derive(Debug)]
pub struct Listing {
    /// The commit, 40 hexadecimal digits.
    pub revision: String,
    /// Its files whose names are harmless.
    pub files: Vec<Offered>,
}

/// Why an attempt failed.
#[derive(Debug)]
pub enum Trouble {
    /// The next attempt would fail as well.
    Lasting(Fault),
    /// It may go away.
    Passing {
        /// What went wrong.
        fault: Fault,
        /// Seconds that the hub asks to be left alone for.
        after_s: u32,
    },
}

impl Trouble {
    /// What may go away.
    pub fn passing(fault: Fault) -> Self {
        Self::Passing { fault, after_s: 0 }
    }
}

impl Hub {
    /// Prepares to ask `source` for `org/repo`; nothing is sent yet.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a name that is none and for a secret that others could read,
    /// `DOWNLOAD_FAILED` when there is no way to connect.
    pub fn new(repo: &str, source: &HubSource) -> Result<Self, Fault> {
        // Both become parts of URLs; a name of a file has nothing in it that would mean something.
        let named = repo.parse::<FileName>().ok().and_then(|_| repo.split_once('/'));
        let named = named.filter(|(_, name)| !name.contains('/'));
        let (owner, name) = named.ok_or_else(|| {
            let repo = text::one_line(repo, 80);
            Fault::new(Code::InvalidArgument, format!("{repo:?} is no repository: org/repo"))
        })?;
        let overheard = source.endpoint.as_ref().filter(|endpoint| endpoint.is_overheard());
        if let (Some(endpoint), Some(_)) = (overheard, &source.token) {
            let message = format!("a token is not sent to {endpoint}: others could read it there");
            return Err(Fault::new(Code::InvalidArgument, message));
        }
        let client = HFClient::builder()
            .endpoint(source.endpoint.as_ref().map_or(ENDPOINT, |endpoint| endpoint.as_str()))
            .token(source.token.as_ref().map_or(NO_TOKEN, |token| token.expose()))
            .user_agent(concat!("rbee/", env!("CARGO_PKG_VERSION")))
            .cache_enabled(false)
            // Attempts are counted, told and spaced in one place, and that is not here.
            .retry_max_attempts(0)
            .build();
        let client = client.map_err(|error| {
            // Usually it is this: servers cannot be told from others without the certificates.
            let mut fault = Fault::new(Code::DownloadFailed, "cannot prepare to connect")
                .hint("sudo apt install ca-certificates  # or what your system calls them");
            let mut next = error.source();
            while let Some(cause) = next {
                fault = fault.cause(harmless(cause));
                next = cause.source();
            }
            fault
        })?;
        Ok(Self {
            repo: repo.to_owned(),
            source: source.clone(),
            owner: owner.to_owned(),
            name: name.to_owned(),
            client,
        })
    }

    /// What the repository has now.
    pub async fn listing(&self) -> Result<Listing, Trouble> {
        // Only with `blobs` lengths and digests are told, for which hf-hub has no parameter: it
        // appends the name as it is, and this one was looked at.
        let asked = self.client.model(self.owner.clone(), format!("{}?blobs=true", self.name));
        let info = asked.info().send().await.map_err(|error| self.trouble(error))?;
        let is_commit =
            |sha: &String| sha.len() == 40 && sha.bytes().all(|b| b.is_ascii_hexdigit());
        let revision = info.sha.filter(is_commit).ok_or_else(|| {
            let message = format!("{} does not tell the commit of {}", self.place(), self.repo);
            Trouble::passing(Fault::new(Code::DownloadFailed, message))
        })?;
        let files = info.siblings.unwrap_or_default().into_iter();
        let files = files.take(limits::MAX_REPOSITORY_FILES).filter_map(|file| {
            let lfs_bytes = file.lfs.as_ref().and_then(|lfs| lfs.size);
            let sha256 = file.lfs.and_then(|lfs| lfs.sha256).and_then(|digest| digest.parse().ok());
            let bytes = file.size.or(lfs_bytes);
            Some(Offered { name: file.rfilename.parse().ok()?, bytes, sha256 })
        });
        Ok(Listing { revision, files: files.collect() })
    }

    /// The bytes of a file from `from` up to `size`, and from where on they really are: 0 when the
    /// hub, or what is between, does not know ranges.
    pub async fn open(
        &self,
        revision: &str,
        name: &FileName,
        from: u64,
        size: u64,
    ) -> Result<(u64, Content), Trouble> {
        if from == 0 {
            return Ok((0, self.stream(revision, name, None).await?.1));
        }
        let (length, stream) = self.stream(revision, name, Some(from..size)).await?;
        if length == Some(size - from) {
            return Ok((from, stream));
        }
        // A length of the whole file means either that the range was ignored or that the length is
        // told beside it; no length means nothing. hf-hub does not show the status: one byte does.
        drop(stream);
        let (_, mut probe) = self.stream(revision, name, Some(from..from + 1)).await?;
        let mut probed = 0;
        while let Some(bytes) = probe.next().await {
            probed += bytes.map_err(|error| self.trouble(error))?.len();
            if probed > 1 {
                return Ok((0, self.stream(revision, name, None).await?.1));
            }
        }
        Ok((from, self.stream(revision, name, Some(from..size)).await?.1))
    }

    async fn stream(
        &self,
        revision: &str,
        name: &FileName,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<(Option<u64>, Content), Trouble> {
        let repository = self.client.model(self.owner.clone(), self.name.clone());
        let asked = repository.download_file_stream().filename(name.as_str()).revision(revision);
        asked.maybe_range(range).send().await.map_err(|error| self.trouble(error))
    }

    /// An error of hf-hub, without what it repeats: URLs may be signed, and bodies are anybody's.
    pub fn trouble(&self, error: HFError) -> Trouble {
        match error {
            HFError::AuthRequired { context } | HFError::Forbidden { context } => {
                let is_gated = context.error_code.as_deref() == Some("GatedRepo");
                Trouble::Lasting(self.denied(is_gated))
            }
            HFError::RepoNotFound { .. } | HFError::RevisionNotFound { .. } => {
                let message = format!("{} has no {}", self.place(), self.repo);
                Trouble::Lasting(self.absent(message))
            }
            HFError::EntryNotFound { path, .. } => {
                let path = text::one_line(&path, 120);
                Trouble::Lasting(self.absent(format!("{} has no {path} any more", self.repo)))
            }
            HFError::RateLimited { retry_after, .. } => {
                let fault = self.failed("asks to be left alone for a while (429)");
                let after_s = retry_after.map_or(0, |after| after.as_secs());
                Trouble::Passing { fault, after_s: u32::try_from(after_s).unwrap_or(u32::MAX) }
            }
            HFError::Http { context } => {
                let status = context.status.as_u16();
                let fault = self.failed(&format!("answered {status}"));
                // 416: what is here is longer than what is there, which the next attempt looks at.
                match status {
                    408 | 416 | 425 | 500.. => Trouble::passing(fault),
                    _ => Trouble::Lasting(fault),
                }
            }
            // The parser's words are those of the hub.
            HFError::Request { source, .. } if source.is_decode() => {
                Trouble::passing(self.failed("answered what is not understood"))
            }
            HFError::Request { source, .. } => {
                let lasts = source.is_builder() || is_of_a_certificate(&source);
                let what = if source.is_connect() { "cannot be reached" } else { "broke off" };
                let mut fault = self.failed(what);
                let mut next = source.source();
                while let Some(cause) = next {
                    fault = fault.cause(harmless(cause));
                    next = cause.source();
                }
                if lasts { Trouble::Lasting(fault) } else { Trouble::passing(fault) }
            }
            HFError::Url(_) | HFError::InvalidParameter(_) => {
                Trouble::Lasting(self.failed("has no address that could be asked"))
            }
            // The others repeat what was answered.
            _ => Trouble::passing(self.failed("answered what is not understood")),
        }
    }

    /// Who is asked, for a sentence.
    pub fn place(&self) -> &str {
        self.source.endpoint.as_ref().map_or(ENDPOINT, |endpoint| endpoint.as_str())
    }

    fn failed(&self, what: &str) -> Fault {
        Fault::new(Code::DownloadFailed, format!("{} {what}", self.place())).hint(self.look())
    }

    /// The command that shows whether the hub answers at all.
    pub fn look(&self) -> String {
        format!("curl -I {}  # on the hive: does it answer?", text::shell_word(self.place()))
    }

    fn absent(&self, message: String) -> Fault {
        Fault::new(Code::ModelNotFound, message)
            .hint(format!("open {}/models  # is the name right?", self.place()))
            .hint(format!("rbee pull {}", text::shell_word(&format!("hf:{}", self.repo))))
    }

    fn denied(&self, is_gated: bool) -> Fault {
        let (place, repo) = (self.place(), &self.repo);
        let message = match (is_gated, &self.source.token) {
            (true, _) => format!("{place} shows {repo} only to who accepted its terms"),
            (false, Some(_)) => format!("{place} does not show {repo} to the owner of this token"),
            (false, None) => format!("{place} does not show {repo} to everybody, or has no such"),
        };
        let mut fault = Fault::new(Code::AccessDenied, message);
        if is_gated {
            fault = fault.hint(format!("open {place}/{repo}  # and accept its terms"));
        }
        fault
            .hint("hf auth login  # or write the token to ~/.config/rbee/hub-token, then chmod 600")
    }
}

/// Whether the other side is not who it should be, which another attempt does not change.
fn is_of_a_certificate(error: &dyn Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if cause.to_string().contains("certificate") {
            return true;
        }
        next = cause.source();
    }
    false
}

/// What may be repeated of an error: one line without addresses, and without words that could be
/// secrets.
fn harmless(error: &dyn Error) -> String {
    let told = text::one_line(&error.to_string(), 4 * MAX_CAUSE_BYTES);
    let is_harmless =
        |word: &str| word.len() < 40 && !["://", "?", "hf_"].iter().any(|sign| word.contains(sign));
    let words = told.split(' ').map(|word| if is_harmless(word) { word } else { "…" });
    text::one_line(&words.collect::<Vec<_>>().join(" "), MAX_CAUSE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(endpoint: &str, token: Option<&str>) -> HubSource {
        HubSource {
            endpoint: Some(endpoint.parse().unwrap()),
            token: token.map(|token| token.parse().unwrap()),
        }
    }

    #[test]
    fn a_secret_is_not_sent_where_others_can_read_it() {
        let refused = Hub::new("org/repo", &source("http://mirror.example", Some("hf_secret")));
        let fault = refused.err().unwrap();
        assert_eq!(fault.code, Code::InvalidArgument);
        assert!(!fault.message.contains("hf_secret"), "{fault}");
        for fine in [source("http://mirror.example", None), source("http://[::1]:1", Some("x"))] {
            assert!(Hub::new("org/repo", &fine).is_ok());
        }
    }

    #[test]
    fn a_repository_has_two_harmless_parts() {
        for repo in ["", "a", "a/b/c", "a/../b", "a/b?c", "a/b c", "/a/b", "a/b#c", "a/%2e"] {
            let fault = Hub::new(repo, &HubSource::default()).err().unwrap();
            assert_eq!(fault.code, Code::InvalidArgument, "{repo}");
        }
    }

    #[test]
    fn no_address_and_no_secret_is_repeated() {
        let told =
            "error for url (https://cdn.x/y?Signature=abc): token hf_abcdef\u{1b}[2J refused";
        let said = harmless(&std::io::Error::other(told));
        assert_eq!(said, "error for url … token … [2J refused");
    }
}

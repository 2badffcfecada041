//! A hub of models on this machine: what the real one answers, and what a bad one does.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use sha2::Digest;
use tokio::sync::oneshot;

use crate::lab::Lab;

/// Bytes that are sent at once.
const PIECE: usize = 16 * 1024;

/// A hub. Dropping it ends it.
#[derive(Debug)]
pub struct Hub {
    address: SocketAddr,
    state: Shared,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// A repository as data.
#[derive(Debug, Clone, Default)]
pub struct Repository {
    /// Its files by their names.
    pub files: BTreeMap<String, Content>,
    /// The token that it takes; absent: it is open to everybody.
    pub token: Option<String>,
    /// Whether its terms must be accepted, which nobody has done.
    pub is_gated: bool,
}

/// One file of a repository.
#[derive(Debug, Clone)]
pub struct Content {
    /// What is in it.
    pub bytes: Bytes,
    /// Whether it is kept as a large file, whose digest is told.
    pub is_large: bool,
}

/// What is wrong with one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends after so many bytes of an answer.
    Cut(usize),
    /// Nothing more comes after so many bytes of an answer.
    Stall(usize),
    /// One byte is another.
    Wrong,
    /// The whole file is sent whatever part was asked for.
    NoRange,
    /// This status instead of an answer; 429 with `Retry-After: 1`.
    Status(u16),
    /// At most so many bytes a second.
    Throttle(usize),
}

/// One request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `GET` or `HEAD`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The header `Range`.
    pub range: Option<String>,
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The header `User-Agent`.
    pub user_agent: Option<String>,
}

#[derive(Debug, Default)]
struct Inner {
    repositories: BTreeMap<String, Repository>,
    faults: BTreeMap<String, (Fault, usize)>,
    asked: Vec<Asked>,
    sent: BTreeMap<String, u64>,
}

type Shared = Arc<Mutex<Inner>>;

fn locked(state: &Shared) -> MutexGuard<'_, Inner> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Repository {
    /// With a file that is kept as a large one.
    #[must_use]
    pub fn large(mut self, name: &str, bytes: impl Into<Bytes>) -> Self {
        self.files.insert(name.to_owned(), Content { bytes: bytes.into(), is_large: true });
        self
    }

    /// With a file whose digest is not told.
    #[must_use]
    pub fn small(mut self, name: &str, bytes: impl Into<Bytes>) -> Self {
        self.files.insert(name.to_owned(), Content { bytes: bytes.into(), is_large: false });
        self
    }

    /// For who has this token alone.
    #[must_use]
    pub fn private(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// The commit: it changes with the names and lengths of the files.
    pub fn commit(&self) -> String {
        let mut hasher = sha2::Sha256::new();
        for (name, content) in &self.files {
            hasher.update(name);
            hasher.update(&content.bytes);
        }
        hex(&hasher.finalize()).chars().take(40).collect()
    }
}

/// SHA-256 of bytes, as digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&sha2::Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

impl Hub {
    /// Starts one with nothing in it.
    ///
    /// # Panics
    /// When this machine has no port or no thread for it.
    pub fn start() -> Self {
        Self::of(std::net::TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    /// Starts one on a machine of a lab, whose hosts reach it over their cables.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_on(lab: &Lab, machine: &str) -> Self {
        let path = format!("/proc/{}/ns/net", lab.process_of(machine));
        let place = format!("{}:0", lab.address(machine));
        let bind = move || {
            let namespace = std::fs::File::open(path).expect("its network");
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).expect("root");
            std::net::TcpListener::bind(place).expect("a port")
        };
        // A socket stays where it was made; the thread is not needed there any more.
        Self::of(std::thread::spawn(bind).join().expect("a socket"))
    }

    fn of(listener: std::net::TcpListener) -> Self {
        let state = Shared::default();
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (end, ended) = oneshot::channel();
        let app = axum::Router::new().fallback(answer).with_state(state.clone());
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            tokio::select! {
                served = axum::serve(listener, app).into_future() => served.expect("it serves"),
                _ = ended => {}
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let thread = std::thread::spawn(move || runtime.block_on(serve));
        Self { address, state, end: Some(end), thread: Some(thread) }
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds or replaces a repository, `org/repo`.
    pub fn put(&self, name: &str, repository: Repository) {
        locked(&self.state).repositories.insert(name.to_owned(), repository);
    }

    /// The next `times` downloads of a file go wrong; `usize::MAX`: all of them.
    pub fn misbehave(&self, repo: &str, file: &str, fault: Fault, times: usize) {
        locked(&self.state).faults.insert(format!("{repo}/{file}"), (fault, times));
    }

    /// As [`Self::misbehave`], for what is told of a repository.
    pub fn misbehave_at_info(&self, repo: &str, fault: Fault, times: usize) {
        locked(&self.state).faults.insert(repo.to_owned(), (fault, times));
    }

    /// All files are right from now on.
    pub fn behave(&self) {
        locked(&self.state).faults.clear();
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        locked(&self.state).asked.clone()
    }

    /// The downloads of a file so far.
    pub fn downloads(&self, repo: &str, file: &str) -> Vec<Asked> {
        let begin = format!("/{repo}/resolve/");
        let is_one = |asked: &Asked| {
            asked.method == "GET"
                && asked.path.starts_with(&begin)
                && asked.path.ends_with(&format!("/{file}"))
        };
        self.asked().into_iter().filter(is_one).collect()
    }

    /// Bytes of a file's content that were handed to the network so far.
    pub fn bytes_sent(&self, repo: &str, file: &str) -> u64 {
        locked(&self.state).sent.get(&format!("{repo}/{file}")).copied().unwrap_or(0)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
        if let Some(thread) = self.thread.take() {
            // What went wrong in it was a failed test before.
            let _ = thread.join();
        }
    }
}

async fn answer(State(state): State<Shared>, request: Request) -> Response {
    let headers = request.headers();
    let text = |name: header::HeaderName| {
        headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let asked = Asked {
        method: request.method().to_string(),
        path: request.uri().to_string(),
        range: text(header::RANGE),
        authorization: text(header::AUTHORIZATION),
        user_agent: text(header::USER_AGENT),
    };
    locked(&state).asked.push(asked.clone());
    let path = request.uri().path();
    if let Some(repo) = path.strip_prefix("/api/models/") {
        let has_blobs = request.uri().query().is_some_and(|query| query.contains("blobs=true"));
        return info(&state, repo, has_blobs, &asked);
    }
    let parts: Vec<&str> = path.trim_start_matches('/').splitn(5, '/').collect();
    match parts.as_slice() {
        [org, name, way @ ("resolve" | "cdn"), revision, file] => {
            let is_head = request.method() == Method::HEAD;
            let place = Place { repo: &format!("{org}/{name}"), revision, file, way };
            resolve(&state, &place, is_head, &asked)
        }
        _ => refusal(StatusCode::NOT_FOUND, "EntryNotFound"),
    }
}

/// A refusal as the hub writes it, with a secret that nobody may repeat.
fn refusal(status: StatusCode, code: &str) -> Response {
    let headers = [("x-error-code", code), ("x-error-message", "SECRET-OF-THE-HUB")];
    let body = r#"{"error":"SECRET-OF-THE-HUB https://cdn/x?Signature=SECRET-OF-THE-HUB"}"#;
    (status, headers, body).into_response()
}

/// The repository, for who may see it.
fn entered(state: &Shared, repo: &str, asked: &Asked) -> Result<Repository, Response> {
    let found = locked(state).repositories.get(repo).cloned();
    let found = found.ok_or_else(|| refusal(StatusCode::NOT_FOUND, "RepoNotFound"))?;
    let expected = found.token.as_ref().map(|token| format!("Bearer {token}"));
    if expected.is_some() && asked.authorization != expected {
        return Err(refusal(StatusCode::UNAUTHORIZED, "RepoNotFound"));
    }
    Ok(found)
}

/// What goes wrong now, counted down.
fn misfortune(state: &Shared, key: &str) -> Option<Fault> {
    let mut inner = locked(state);
    let (fault, times) = inner.faults.get_mut(key)?;
    *times = times.checked_sub(1)?;
    Some(*fault)
}

fn unavailable(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = refusal(status, "Unavailable");
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    response
}

/// `GET /api/models/{org}/{repo}?blobs=true`.
fn info(state: &Shared, repo: &str, has_blobs: bool, asked: &Asked) -> Response {
    match misfortune(state, repo) {
        Some(Fault::Status(status)) => return unavailable(status),
        Some(Fault::Stall(_)) => {
            return Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())
                .into_response();
        }
        _ => {}
    }
    let repository = match entered(state, repo, asked) {
        Ok(repository) => repository,
        Err(refused) => return refused,
    };
    let siblings: Vec<serde_json::Value> =
        repository.files.iter().map(|(name, content)| sibling(name, content, has_blobs)).collect();
    let gated = if repository.is_gated { "manual".into() } else { serde_json::json!(false) };
    axum::Json(serde_json::json!({
        "_id": "6500000000000000000000aa",
        "id": repo,
        "modelId": repo,
        "private": repository.token.is_some(),
        "gated": gated,
        "sha": repository.commit(),
        "siblings": siblings,
        "tags": ["gguf"],
    }))
    .into_response()
}

fn sibling(name: &str, content: &Content, has_blobs: bool) -> serde_json::Value {
    let mut sibling = serde_json::json!({ "rfilename": name });
    if let Some(fields) = sibling.as_object_mut().filter(|_| has_blobs) {
        let digest = sha256(&content.bytes);
        fields.insert("size".to_owned(), content.bytes.len().into());
        fields.insert("blobId".to_owned(), digest.get(..40).into());
        if content.is_large {
            let lfs = serde_json::json!({
                "sha256": digest, "size": content.bytes.len(), "pointerSize": 134,
            });
            fields.insert("lfs".to_owned(), lfs);
        }
    }
    sibling
}

/// Where a file is asked for.
struct Place<'a> {
    repo: &'a str,
    revision: &'a str,
    file: &'a str,
    /// `resolve`, or `cdn` where large files really are.
    way: &'a str,
}

/// `GET` and `HEAD /{org}/{repo}/resolve/{revision}/{file}`.
fn resolve(state: &Shared, place: &Place<'_>, is_head: bool, asked: &Asked) -> Response {
    let &Place { repo, revision, file, way } = place;
    let repository = match entered(state, repo, asked) {
        Ok(repository) if repository.is_gated => {
            return refusal(StatusCode::FORBIDDEN, "GatedRepo");
        }
        Ok(repository) => repository,
        Err(refused) => return refused,
    };
    let commit = repository.commit();
    if revision != commit && revision != "main" {
        return refusal(StatusCode::NOT_FOUND, "RevisionNotFound");
    }
    let Some(content) = repository.files.get(file) else {
        return refusal(StatusCode::NOT_FOUND, "EntryNotFound");
    };
    if content.is_large && way == "resolve" {
        return elsewhere(place, content, commit);
    }
    let key = format!("{repo}/{file}");
    // Who only looks is told the truth: what goes wrong is counted by downloads.
    let fault = if is_head { None } else { misfortune(state, &key) };
    if let Some(Fault::Status(status)) = fault {
        return unavailable(status);
    }
    let mut bytes = content.bytes.clone();
    if fault == Some(Fault::Wrong) {
        let mut wrong = bytes.to_vec();
        if let Some(last) = wrong.last_mut() {
            *last = !*last;
        }
        bytes = wrong.into();
    }
    let whole = bytes.len();
    let ignores = fault == Some(Fault::NoRange);
    let range = asked.range.as_deref().filter(|_| !ignores).and_then(|range| part(range, whole));
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: String| {
        headers.insert(name, value.parse().expect("a header"));
    };
    put("x-repo-commit", commit);
    put("etag", format!("\"{}\"", sha256(&content.bytes)));
    put("accept-ranges", "bytes".to_owned());
    let status = match &range {
        Some(range) => {
            let last = range.end.saturating_sub(1);
            put("content-range", format!("bytes {}-{last}/{whole}", range.start));
            bytes = bytes.slice(range.clone());
            StatusCode::PARTIAL_CONTENT
        }
        None => StatusCode::OK,
    };
    put("content-length", bytes.len().to_string());
    let body = if is_head { Body::empty() } else { sending(state, key, &bytes, fault) };
    (status, headers, body).into_response()
}

/// Where a large file really is: an address that is signed, as that of a secret.
fn elsewhere(place: &Place<'_>, content: &Content, commit: String) -> Response {
    let Place { repo, revision, file, .. } = place;
    let location = format!("/{repo}/cdn/{revision}/{file}?Signature=SECRET-OF-THE-HUB");
    let headers = [
        ("location", location),
        ("x-repo-commit", commit),
        ("x-linked-etag", format!("\"{}\"", sha256(&content.bytes))),
        ("x-linked-size", content.bytes.len().to_string()),
    ];
    (StatusCode::FOUND, headers).into_response()
}

/// The part that `bytes=a-b` or `bytes=a-` asks for.
fn part(range: &str, whole: usize) -> Option<std::ops::Range<usize>> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let from: usize = from.parse().ok()?;
    let end = to.parse::<usize>().map_or(whole, |last| last.saturating_add(1)).min(whole);
    (from < end).then_some(from..end)
}

/// A body that goes as the fault says, and is counted as it goes.
fn sending(state: &Shared, key: String, bytes: &Bytes, fault: Option<Fault>) -> Body {
    let (most, piece, pause) = match fault {
        Some(Fault::Cut(most) | Fault::Stall(most)) => (most, PIECE, None),
        Some(Fault::Throttle(per_s)) => {
            let piece = (per_s / 20).max(1);
            (usize::MAX, piece, Some(Duration::from_millis(50)))
        }
        _ => (usize::MAX, PIECE, None),
    };
    let given = bytes.slice(..bytes.len().min(most));
    let is_short = given.len() < bytes.len();
    let state = state.clone();
    let pieces = stream::unfold(given, move |mut rest| {
        let (state, key) = (state.clone(), key.clone());
        async move {
            if rest.is_empty() {
                return None;
            }
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            let next = rest.split_to(rest.len().min(piece));
            *locked(&state).sent.entry(key).or_default() += next.len() as u64;
            Some((Ok::<Bytes, std::io::Error>(next), rest))
        }
    });
    match fault {
        Some(Fault::Stall(_)) => Body::from_stream(pieces.chain(stream::pending())),
        Some(Fault::Cut(_)) if is_short => Body::from_stream(pieces.chain(broken())),
        _ => Body::from_stream(pieces),
    }
}

/// The end of a connection that has not sent all it said. What was sent is on its way before.
fn broken() -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    stream::once(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::other("cut"))
    })
}

//! Connections through a real socket: who gets in, what is refused, how it ends.

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::server::reply::with_refusals;

/// No single step of these tests takes this long on any machine.
const BOUND: Duration = Duration::from_secs(20);

struct Fixture {
    dir: tempfile::TempDir,
    line: Arc<Line>,
}

impl Fixture {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = Socket::bind(&dir.path().join("s")).unwrap();
        let line = Line::new();
        let router = Router::new()
            .route("/ok", get(|| async { "fine" }))
            .route("/panic", get(|| async { panic!("on purpose") as () }))
            .route("/never", get(std::future::pending::<()>));
        tokio::spawn(socket.serve(with_refusals(router), line.clone()));
        Self { dir, line }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.dir.path().join("s")).await.unwrap()
    }

    /// Everything that comes back until the connection ends.
    async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        read_all(&mut stream).await
    }
}

async fn read_all(stream: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is an end too.
    let _ = tokio::time::timeout(BOUND, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

fn get_request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn the_socket_is_private_and_never_taken_from_its_owner() {
    let fixture = Fixture::start();
    let path = fixture.dir.path().join("s");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(Socket::bind(&path).unwrap_err().code, Code::Io);
    assert!(path.exists(), "a refused bind removed the owner's socket");
    assert_eq!(std::fs::read_dir(fixture.dir.path()).unwrap().count(), 1);
    let long = fixture.dir.path().join("x".repeat(limits::MAX_SOCKET_PATH_BYTES));
    assert_eq!(Socket::bind(&long).unwrap_err().code, Code::InvalidArgument);
}

#[tokio::test]
async fn a_peer_is_known_by_its_user() {
    let (one, _other) = UnixStream::pair().unwrap();
    let own = rustix::process::geteuid().as_raw();
    assert!(is_of(&one, own));
    assert!(!is_of(&one, own + 1));
}

#[tokio::test]
async fn unknown_routes_and_methods_are_faults() {
    let fixture = Fixture::start();
    let answer = fixture.exchange(&get_request("/nowhere")).await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("NOT_FOUND"), "{answer}");
    let post = b"DELETE /ok HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = fixture.exchange(post).await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("NOT_FOUND"), "{answer}");
}

#[tokio::test]
async fn a_panicking_handler_is_an_internal_fault_and_the_next_request_is_served() {
    let fixture = Fixture::start();
    let answer = fixture.exchange(&get_request("/panic")).await;
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("INTERNAL"), "{answer}");
    assert!(!answer.contains("on purpose"), "{answer}");
    assert!(fixture.exchange(&get_request("/ok")).await.ends_with("fine"));
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let fixture = Fixture::start();
    let mut request = b"GET /ok HTTP/1.1\r\nx: ".to_vec();
    request.resize(usize::try_from(limits::MAX_HEADER_BYTES).unwrap() + 1, b'y');
    let answer = fixture.exchange(&request).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_request_that_is_on_its_way_when_the_socket_closes_is_answered() {
    let fixture = Fixture::start();
    let mut late = fixture.connect().await;
    let mut open = fixture.line.connections();
    tokio::time::timeout(BOUND, open.wait_for(|open| *open == 1)).await.unwrap().unwrap();
    let line = fixture.line.clone();
    let closed = tokio::spawn(async move { line.close(BOUND, false).await });
    let mut closing = fixture.line.closing.subscribe();
    tokio::time::timeout(BOUND, closing.wait_for(|closing| *closing)).await.unwrap().unwrap();
    late.write_all(b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let answer = read_all(&mut late).await;
    assert!(answer.contains("connection: close") && answer.ends_with("fine"), "{answer}");
    tokio::time::timeout(BOUND, closed).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_never_ends_delays_the_close_by_its_bound_only() {
    let fixture = Fixture::start();
    let mut stuck = fixture.connect().await;
    stuck.write_all(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let close = fixture.line.close(Duration::from_millis(50), true);
    tokio::time::timeout(BOUND, close).await.unwrap();
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_room_is_given_back() {
    let line = Line::new();
    let mut tickets: Vec<Ticket> =
        (0..limits::MAX_CONNECTIONS).map(|_| Ticket::admit(&line).unwrap()).collect();
    assert!(Ticket::admit(&line).is_none());
    tickets.pop();
    assert!(Ticket::admit(&line).is_some());
    drop(tickets);
    assert_eq!(*line.connections().borrow(), 0);
}

#[tokio::test]
async fn a_reader_that_comes_and_goes_unseen_was_still_there() {
    use futures_util::FutureExt;
    let line = Line::new();
    let mut close = Box::pin(line.close(BOUND, true));
    assert!(close.as_mut().now_or_never().is_none(), "it waits for the first reader");
    drop(Ticket::admit(&line));
    assert!(close.now_or_never().is_some(), "the first reader has come");
}

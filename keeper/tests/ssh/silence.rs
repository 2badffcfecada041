//! Servers that are not there, do not speak, speak something else, or fall silent.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keeper::ssh::Ended;
use keeper::ssh::connect::{Caller, Note, connect};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use wire::Code;

use crate::identities::unreached;
use crate::server::{PATIENCE, Server, caller, free_port, is_there, refused, shown};

/// A caller who waits a second for each attempt, and what it is told.
fn hasty() -> (Caller, Arc<Mutex<Vec<String>>>) {
    let mut caller = caller(Arc::default());
    caller.timings.ssh_connect = Duration::from_secs(1);
    let told = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&told);
    caller.told = Arc::new(move |note| {
        if let Note::Attempt { number, of, .. } = note {
            into.lock().unwrap().push(format!("{number}/{of}"));
        }
    });
    (caller, told)
}

/// Answers every connection with `greeting`.
async fn listener(greeting: fn(TcpStream) -> tokio::task::JoinHandle<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            greeting(stream);
        }
    });
    port
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_tried_three_times_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let (caller, told) = hasty();
    let fault = refused(&unreached(&dir, port), &caller).await;
    assert_eq!(fault.code, Code::HiveUnreachable);
    assert_eq!(
        fault.message,
        format!("ada@127.0.0.1:{port}: the connection was refused (3 attempts)")
    );
    assert_eq!(*told.lock().unwrap(), ["1/3", "2/3", "3/3"]);
    assert!(fault.hints.contains(&format!("ssh -v -p {port} ada@127.0.0.1")), "{fault:#?}");
    assert!(fault.hints.contains(&"ping -c 3 127.0.0.1".to_owned()), "{fault:#?}");
}

#[tokio::test]
async fn a_name_that_is_none_is_said_to_be_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let mut to = unreached(&dir, 22);
    to.host = "no-such-host.invalid".into();
    let mut caller = caller(Arc::default());
    caller.timings.ssh_connect = Duration::from_secs(5);
    let fault = refused(&to, &caller).await;
    assert_eq!(fault.code, Code::HiveUnreachable);
    assert!(fault.message.contains("no-such-host.invalid:22: the name is not known"), "{fault:#?}");
}

#[tokio::test]
async fn a_host_that_accepts_and_never_speaks_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let port = listener(|stream| {
        tokio::spawn(async move {
            let mut stream = stream;
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
        })
    });
    let (caller, _) = hasty();
    let begun = Instant::now();
    let fault = refused(&unreached(&dir, port.await), &caller).await;
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    assert!(fault.message.contains("says nothing"), "{fault:#?}");
    assert_eq!(fault.details["attempts"], 3);
}

#[tokio::test]
async fn a_host_that_stops_in_the_middle_of_the_key_exchange_is_given_up_and_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (caller, _) = hasty();
    let to = unreached(&dir, port);
    let attempt = tokio::spawn(async move { refused(&to, &caller).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(b"SSH-2.0-half\r\n").await.unwrap();
    // Its end is seen although nothing was agreed on.
    let mut all = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("it lets go").unwrap();
    assert!(all.starts_with(b"SSH-2.0-rbee"));
    drop(listener);
    let fault = attempt.await.unwrap();
    assert_eq!(fault.code, Code::HiveUnreachable);
}

#[tokio::test]
async fn ten_megabytes_of_greeting_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    for line in [&b"SSH-2.0-a very long name"[..], b"no newline at all"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let flood = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut sent, piece) = (0, line.repeat(4096));
            while sent < 10 * 1024 * 1024 && stream.write_all(&piece).await.is_ok() {
                sent += piece.len();
            }
            sent
        });
        let fault = refused(&unreached(&dir, port), &caller(Arc::default())).await;
        assert_eq!(fault.code, Code::HiveUnreachable);
        assert_eq!(fault.details["attempts"], 1, "it will not be another one: {fault:#?}");
        assert!(shown(&fault).len() < 4096);
        assert!(flood.await.unwrap() < 10 * 1024 * 1024);
    }
}

#[tokio::test]
async fn something_else_that_answers_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let port = listener(|stream| {
        tokio::spawn(async move {
            let mut stream = stream;
            let _ = stream.write_all(&b"HTTP/1.1 400 \x1b[31mBad Request\r\n\r\n".repeat(40)).await;
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
        })
    });
    let fault = refused(&unreached(&dir, port.await), &caller(Arc::default())).await;
    assert!(fault.message.contains("not an SSH server"), "{fault:#?}");
    assert!(shown(&fault).contains("it says: HTTP/1.1 400"), "{fault:#?}");
    assert!(!shown(&fault).contains('\x1b'));
}

#[tokio::test]
async fn a_host_that_hangs_up_at_once_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let port = listener(|stream| tokio::spawn(async move { drop(stream) }));
    let fault = refused(&unreached(&dir, port.await), &caller(Arc::default())).await;
    assert!(fault.message.contains("closed the connection before it said anything"), "{fault:#?}");
    assert_eq!(fault.details["attempts"], 3);
}

#[tokio::test]
async fn a_server_that_freezes_is_noticed_in_the_time_for_the_dead() {
    if !is_there("a_server_that_freezes_is_noticed_in_the_time_for_the_dead") {
        return;
    }
    let server = Server::start("");
    let mut caller = caller(Arc::default());
    caller.timings.heartbeat = Duration::from_millis(300);
    caller.timings.dead = Duration::from_secs(3);
    let session = connect(&server.resolved(), &caller).await.unwrap();
    let mut shell = session.shell().await.unwrap();
    shell.input.write_all(b"echo one; read line\n").await.unwrap();
    let mut one = [0; 4];
    shell.output.read_exact(&mut one).await.unwrap();
    let frozen = server.children();
    for pid in &frozen {
        kill_process(Pid::from_raw(*pid).unwrap(), Signal::STOP).unwrap();
    }
    let begun = Instant::now();
    let read = timeout(PATIENCE, shell.output.read_u8()).await.expect("it is noticed");
    assert!(read.is_err());
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    assert!(session.is_closed());
    assert_eq!(shell.ended.await, Ended::Lost);
    for pid in &frozen {
        let _ = kill_process(Pid::from_raw(*pid).unwrap(), Signal::CONT);
    }
}

#[tokio::test]
async fn a_server_that_freezes_in_the_middle_of_an_upload_is_noticed() {
    if !is_there("a_server_that_freezes_in_the_middle_of_an_upload_is_noticed") {
        return;
    }
    let server = Server::start("");
    let mut caller = caller(Arc::default());
    caller.timings.heartbeat = Duration::from_millis(600);
    caller.timings.dead = Duration::from_millis(1200);
    let session = connect(&server.resolved(), &caller).await.unwrap();
    let mut shell = session.shell().await.unwrap();
    shell.input.write_all(b"echo one; cat >/dev/null\n").await.unwrap();
    let mut one = [0; 4];
    shell.output.read_exact(&mut one).await.unwrap();
    for pid in server.children() {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    }
    let upload = async {
        let piece = vec![0; 1 << 20];
        while shell.input.write_all(&piece).await.is_ok() {}
    };
    timeout(PATIENCE, upload).await.expect("it does not wait for ever");
    timeout(PATIENCE, shell.ended).await.expect("it is noticed");
    for pid in server.children() {
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::CONT);
    }
}

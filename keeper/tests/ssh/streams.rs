//! What runs over a connection: shells and streams to sockets.

use std::time::Duration;

use keeper::ssh::Ended;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::time::timeout;
use wire::Code;

use crate::server::{PATIENCE, Server, connected, is_there, sh, wait_for};

/// Bytes of a long transfer.
const BYTES: usize = 24 * 1024 * 1024;

#[tokio::test]
async fn a_shell_reads_its_script_and_tells_how_it_ended() {
    if !is_there("a_shell_reads_its_script_and_tells_how_it_ended") {
        return;
    }
    let server = Server::start("");
    let session = connected(&server.resolved()).await;
    let ends = [
        ("exit 0", Ended::Exit(0)),
        ("exit 7", Ended::Exit(7)),
        ("kill -TERM $$", Ended::Signal("TERM".into())),
    ];
    for (script, end) in ends {
        let mut shell = session.shell().await.unwrap();
        let script = format!("echo out; echo err >&2; {script}\n");
        shell.input.write_all(script.as_bytes()).await.unwrap();
        shell.input.shutdown().await.unwrap();
        let (mut output, mut errors) = (String::new(), String::new());
        shell.output.read_to_string(&mut output).await.unwrap();
        shell.errors.read_to_string(&mut errors).await.unwrap();
        assert_eq!((output.as_str(), errors.as_str()), ("out\n", "err\n"));
        assert_eq!(timeout(PATIENCE, shell.ended).await.unwrap(), end);
    }
}

#[tokio::test]
async fn megabytes_pass_in_both_directions_unchanged() {
    if !is_there("megabytes_pass_in_both_directions_unchanged") {
        return;
    }
    let server = Server::start("");
    let session = connected(&server.resolved()).await;
    let mut shell = session.shell().await.unwrap();
    let sent: Vec<u8> = (0..BYTES)
        .map(|i| u8::try_from(i.wrapping_mul(2_654_435_761) >> 13 & 0xff).unwrap())
        .collect();
    let (mut input, mut output) = (shell.input, shell.output);
    // A shell may read ahead: what is not for it is sent when the program that wants it runs.
    input.write_all(b"echo; exec cat\n").await.unwrap();
    assert_eq!(output.read_u8().await.unwrap(), b'\n');
    let copy = sent.clone();
    let write = tokio::spawn(async move {
        input.write_all(&copy).await.unwrap();
        input.shutdown().await.unwrap();
    });
    let mut back = Vec::with_capacity(BYTES);
    timeout(PATIENCE, output.read_to_end(&mut back)).await.unwrap().unwrap();
    write.await.unwrap();
    assert!(back == sent, "{} bytes came back of {BYTES}", back.len());
    let mut errors = String::new();
    shell.errors.read_to_string(&mut errors).await.unwrap();
    assert_eq!((errors.as_str(), shell.ended.await), ("", Ended::Exit(0)));
}

#[tokio::test]
async fn a_stream_to_a_unix_socket_can_be_half_closed() {
    if !is_there("a_stream_to_a_unix_socket_can_be_half_closed") {
        return;
    }
    let server = Server::start("");
    let path = server.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let session = connected(&server.resolved()).await;
    let echo = tokio::spawn(async move {
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        peer.read_to_end(&mut all).await.unwrap();
        peer.write_all(&all).await.unwrap();
    });
    let mut stream = session.socket(path.to_str().unwrap()).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut back)).await.unwrap().unwrap();
    assert_eq!(back, "hello");
    echo.await.unwrap();
}

#[tokio::test]
async fn a_socket_where_nobody_listens_is_said_to_be_one() {
    if !is_there("a_socket_where_nobody_listens_is_said_to_be_one") {
        return;
    }
    let server = Server::start("");
    let session = connected(&server.resolved()).await;
    let path = server.path("nothing");
    let Err(fault) = session.socket(path.to_str().unwrap()).await else { panic!("opened") };
    assert_eq!(fault.code, Code::HiveUnreachable);
    assert_eq!(fault.details["refused"], "connect_failed", "{fault:#?}");
    assert_eq!(sh(&*session, "echo still there\n").await, "still there\n");
}

#[tokio::test]
async fn one_session_too_many_is_refused_and_the_connection_lives() {
    if !is_there("one_session_too_many_is_refused_and_the_connection_lives") {
        return;
    }
    let server = Server::start("MaxSessions 1");
    let session = connected(&server.resolved()).await;
    let first = session.shell().await.unwrap();
    let Err(fault) = session.shell().await else { panic!("opened") };
    assert_eq!(fault.code, Code::HiveUnreachable);
    assert!(fault.details.contains_key("refused"), "{fault:#?}");
    drop(first);
    let session = &*session;
    let begun = std::time::Instant::now();
    while session.shell().await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "the place of a shell that was dropped is free");
    }
}

#[tokio::test]
async fn a_shell_that_is_dropped_is_closed_there() {
    if !is_there("a_shell_that_is_dropped_is_closed_there") {
        return;
    }
    let server = Server::start("");
    let session = connected(&server.resolved()).await;
    let mut shell = session.shell().await.unwrap();
    let mark = server.path("ended");
    let script = format!("echo ready; read line; echo done >{}\n", mark.display());
    shell.input.write_all(script.as_bytes()).await.unwrap();
    let mut ready = [0; 6];
    shell.output.read_exact(&mut ready).await.unwrap();
    drop(shell);
    tokio::task::spawn_blocking(move || wait_for("the end of its input", || mark.exists()))
        .await
        .unwrap();
    assert_eq!(sh(&*session, "echo here\n").await, "here\n");
}

#[tokio::test]
async fn a_connection_is_closed_when_the_last_of_its_streams_is_dropped() {
    if !is_there("a_connection_is_closed_when_the_last_of_its_streams_is_dropped") {
        return;
    }
    let server = Server::start("");
    let session = connected(&server.resolved()).await;
    let mut shell = session.shell().await.unwrap();
    drop(session);
    shell.input.write_all(b"echo one; read line; exit 3\n").await.unwrap();
    let mut one = [0; 4];
    shell.output.read_exact(&mut one).await.unwrap();
    assert_eq!(&one, b"one\n", "the stream keeps it");
    assert!(!server.children().is_empty());
    drop(shell);
    let server = tokio::task::spawn_blocking(move || {
        wait_for("the server to be rid of it", || server.children().is_empty());
        server
    });
    let log = server.await.unwrap().log();
    assert!(log.contains("Received disconnect") || log.contains("disconnected by user"), "{log}");
}

#[tokio::test]
async fn streams_of_a_lost_connection_end_with_an_error() {
    if !is_there("streams_of_a_lost_connection_end_with_an_error") {
        return;
    }
    let server = Server::start("");
    let session = connected(&server.resolved()).await;
    let mut shell = session.shell().await.unwrap();
    shell.input.write_all(b"echo one; read line\n").await.unwrap();
    let mut one = [0; 4];
    shell.output.read_exact(&mut one).await.unwrap();
    for pid in server.children() {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let read = timeout(PATIENCE, shell.output.read_u8()).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(shell.ended.await, Ended::Lost);
    assert!(session.is_closed());
    assert_eq!(session.shell().await.err().unwrap().code, Code::HiveUnreachable);
    let written = timeout(Duration::from_secs(5), shell.input.write_all(&vec![0; 1 << 20])).await;
    assert!(written.expect("it does not wait for ever").is_err());
}

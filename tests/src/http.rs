//! The plainest HTTP/1.1 over a unix socket: what `curl --unix-socket` would send.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A response, its body de-chunked.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code; 0 when the peer closed without an answer.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The `error.code` of a refusal.
    pub fn error_code(&self) -> String {
        let json = self.json();
        let code = json.pointer("/error/code").and_then(serde_json::Value::as_str);
        code.unwrap_or_default().to_owned()
    }

    /// The values of an event stream, its `[DONE]` left out.
    pub fn events(&self) -> Vec<serde_json::Value> {
        String::from_utf8_lossy(&self.body)
            .lines()
            .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
            .collect()
    }
}

/// Sends one request and reads the whole answer.
///
/// # Errors
/// When the socket cannot be reached or stays silent for a minute.
pub fn request(socket: &Path, method: &str, path: &str, body: &[u8]) -> std::io::Result<Response> {
    read(open(socket, method, path, body)?)
}

/// Reads the whole answer to a request that was sent.
///
/// # Errors
/// When it stays silent for a minute.
pub fn read(mut stream: UnixStream) -> std::io::Result<Response> {
    let mut raw = Vec::new();
    match stream.read_to_end(&mut raw) {
        // Who answers and closes without reading the rest of the body resets the connection;
        // what was answered before is delivered all the same.
        Err(error) if error.kind() == ErrorKind::ConnectionReset && !raw.is_empty() => {}
        ended => drop(ended?),
    }
    Ok(parse(&raw))
}

/// Sends one request and leaves the answer to the caller.
///
/// # Errors
/// When the socket cannot be reached.
pub fn open(socket: &Path, method: &str, path: &str, body: &[u8]) -> std::io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: hive\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    // A server may refuse by its length alone and close; its answer is still to be read.
    let _ = stream.write_all(body);
    Ok(stream)
}

fn parse(raw: &[u8]) -> Response {
    let Some(end) = raw.windows(4).position(|w| w == b"\r\n\r\n") else {
        return Response { status: 0, body: Vec::new() };
    };
    let (head, body) = raw.split_at(end);
    let body = body.get(4..).unwrap_or_default();
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let status = head.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let chunked = head.contains("transfer-encoding: chunked");
    Response { status, body: if chunked { dechunk(body) } else { body.to_vec() } }
}

/// Joins the chunks of a chunked body (RFC 9112, section 7.1).
fn dechunk(mut body: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    while let Some(end) = body.windows(2).position(|w| w == b"\r\n") {
        let (size, rest) = body.split_at(end);
        let size = std::str::from_utf8(size).ok().and_then(|s| usize::from_str_radix(s, 16).ok());
        let rest = rest.get(2..).unwrap_or_default();
        let Some(chunk) = size.filter(|&n| n > 0).and_then(|n| rest.get(..n)) else { break };
        joined.extend_from_slice(chunk);
        body = rest.get(chunk.len() + 2..).unwrap_or_default();
    }
    joined
}

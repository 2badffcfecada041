//! Sends a program: continued where an earlier upload broke off, verified on the other side, and
//! put in place whole or not at all.

use std::io;

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use wire::settings::Lifetime;
use wire::{BuildId, Code, Fault};

use super::payload::Payload;
use super::probe::Place;
use super::script::{Running, Script, last_lines, taken_apart};
use super::{Host, Step, start};

/// Bytes that are written at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Times that an upload is begun: the second one from its first byte, the third one because another
/// keeper took the second one over.
const MAX_ATTEMPTS: u32 = 3;
/// Bytes of a kibibyte.
const KIB: u64 = 1024;
/// KiB beyond both copies that must be free: directories, the socket, the first log.
const SPARE_KIB: u64 = 1024;

/// What is put where.
#[derive(Debug, Clone)]
pub struct Destination<'a> {
    /// Where rbee lives there.
    pub place: Place,
    /// Its build.
    pub build: &'a BuildId,
    /// Its target.
    pub target: &'a str,
    /// How long an agent of it lives that is started there.
    pub lifetime: Lifetime,
}

/// What is sent where, and what comes of it there.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// Where the program is put.
    pub to: Destination<'a>,
    /// What is sent.
    pub payload: &'a Payload,
    /// From its first byte, whatever is there.
    pub again: bool,
    /// Whether its agent is started at once; [`start::answered`] says how that went.
    pub starts: bool,
}

/// How one attempt ended.
enum Outcome {
    /// The program is in place.
    Done(Box<Running>),
    /// What arrived is not what was sent.
    Wrong(String),
    /// Another keeper took the unfinished upload over.
    Taken,
}

/// Sends a program and puts it in place. The script may go on and start it.
///
/// # Errors
/// `DISK_FULL` with numbers, `CHECKSUM_MISMATCH` when it arrives changed twice, `AGENT_FAILED` when
/// the machine refuses it, `HIVE_UNREACHABLE` when the connection ends: what arrived stays there,
/// and the next upload goes on behind it.
pub async fn upload(host: &Host, order: &Order<'_>) -> Result<Running, Fault> {
    let mut order = order.clone();
    let mut last = String::new();
    for _ in 0..MAX_ATTEMPTS {
        match attempt(host, &order).await? {
            Outcome::Done(running) => return Ok(*running),
            Outcome::Taken => {}
            Outcome::Wrong(_) if order.again && !last.is_empty() => break,
            Outcome::Wrong(digest) => {
                host.sees(&Step::Note("what arrived was damaged; it is sent once more".to_owned()));
                (order.again, last) = (true, digest);
            }
        }
    }
    let fault = host.fault(Code::ChecksumMismatch, "the program does not arrive as it was sent");
    Err(fault
        .cause(format!("sent: {}", order.payload.digest))
        .cause(format!("arrived: {last}"))
        .hint(format!("rbee hive install {}", host.hive)))
}

async fn attempt(host: &Host, order: &Order<'_>) -> Result<Outcome, Fault> {
    let payload = order.payload;
    let need = (payload.bytes + payload.program_bytes).div_ceil(KIB) + SPARE_KIB;
    let upload = include_str!("scripts/upload.sh");
    let parts = if order.starts { &[upload, start::SCRIPT][..] } else { &[upload] };
    let script = Script::new("install", parts);
    let mut running = start::given(script, &order.to, &payload.digest)
        .given("name", &payload.name)
        .given("packed", if payload.is_packed { "gz" } else { "plain" })
        .given("sent", payload.bytes)
        .given("need", need)
        .given("bytes", payload.program_bytes)
        .given("again", if order.again { "yes" } else { "no" })
        .run(host)
        .await?;
    let (name, value) = running.answer().await?;
    let offset = match (name.as_str(), value.parse::<u64>()) {
        ("ready", Ok(offset)) if offset <= payload.bytes => offset,
        _ => return Err(refused(running, need, (name, value)).await),
    };
    if offset > 0 {
        let what = format!("an earlier upload goes on behind its first {offset} bytes");
        host.sees(&Step::Note(what));
    }
    let (name, value) = match send(&mut running, payload, offset).await? {
        Some(line) => taken_apart(&line),
        None => running.answer().await?,
    };
    match name.as_str() {
        "done" => Ok(Outcome::Done(Box::new(running))),
        "wrong" => Ok(Outcome::Wrong(value)),
        "taken" => Ok(Outcome::Taken),
        _ => Err(refused(running, need, (name, value)).await),
    }
}

/// Writes the rest of the file; what the script says before it is all there ends it early.
async fn send(
    running: &mut Running,
    payload: &Payload,
    offset: u64,
) -> Result<Option<String>, Fault> {
    let (host, silence) = (running.host.clone(), running.host.silence);
    let unreadable = |error: io::Error| {
        host.fault(Code::Io, "the program cannot be read while it is sent").cause(error)
    };
    let mut file = File::open(&payload.file).await.map_err(unreadable)?;
    file.seek(io::SeekFrom::Start(offset)).await.map_err(unreadable)?;
    let (mut done, total) = (offset, payload.bytes);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        host.sees(&Step::Installing { done, total });
        let count = file.read(&mut chunk).await.map_err(unreadable)?;
        let bytes = chunk.get(..count).unwrap_or_default();
        let input = &mut running.input;
        let write = async {
            if bytes.is_empty() { input.shutdown().await } else { input.write_all(bytes).await }
        };
        tokio::select! {
            line = running.lines.next() => {
                return match line {
                    Ok(Some(line)) => Ok(Some(line)),
                    Ok(None) => Err(running.broken().await),
                    Err(error) => Err(running.unreadable(&error)),
                };
            }
            written = tokio::time::timeout(silence, write) => match written {
                Ok(Ok(())) if count == 0 => return Ok(None),
                Ok(Ok(())) => done += u64::try_from(count).unwrap_or_default(),
                // What it says, or how it ended, tells more than a broken pipe.
                Ok(Err(_)) => return Ok(None),
                Err(_late) => {
                    let what = format!("the upload stands still at {done} of {total} bytes");
                    let fault = host.fault(Code::HiveUnreachable, what);
                    return Err(fault.hint(format!("rbee hive install {}", host.hive)));
                }
            },
        }
    }
}

/// Why nothing was installed.
async fn refused(mut running: Running, need: u64, (name, value): (String, String)) -> Fault {
    let host = running.host.clone();
    match name.as_str() {
        "full" => {
            let free = value.parse::<u64>().unwrap_or_default();
            let what = format!(
                "there is no space for the program: it needs {} MiB, {} MiB are free",
                need.div_ceil(KIB),
                free / KIB
            );
            host.fault(Code::DiskFull, what)
                .detail("required_bytes", need.saturating_mul(KIB))
                .detail("available_bytes", free.saturating_mul(KIB))
                .hint(host.there("df -h ~"))
        }
        "foreign" => host.foreign(&value),
        "tools" => {
            let what =
                "nothing there computes a SHA-256: sha256sum, shasum and openssl are missing";
            host.fault(Code::AgentFailed, what).hint(host.there("command -v sha256sum"))
        }
        "short" => {
            let what = format!("the upload broke off after {value} bytes");
            let hint = format!("rbee hive install {}", host.hive);
            host.fault(Code::HiveUnreachable, what).hint(hint)
        }
        _ => {
            let (_, words) = running.end().await;
            let fault = host.fault(Code::AgentFailed, format!("{value} cannot be written"));
            last_lines(&words, 2)
                .fold(fault, Fault::cause)
                .hint(host.there(&format!("ls -ld {}", wire::text::shell_word(&value))))
        }
    }
}

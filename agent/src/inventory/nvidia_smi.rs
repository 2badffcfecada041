//! NVIDIA's GPUs by the program `nvidia-smi`, where the library cannot be loaded.

use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wire::device::{Backend, Device, DeviceInfo, Source};
use wire::limits;

use super::gpu::{Processes, Reading};

/// The program, found as the agent's PATH says.
const PROGRAM: &str = "nvidia-smi";
/// How long one of its runs may take: it starts the driver where nothing else has.
const TIME: Duration = Duration::from_secs(10);
/// Bytes of its output that are read: some hundred for each GPU or process.
const MOST_OUTPUT_BYTES: usize = 1024 * 1024;

/// What is asked of each GPU, in the order of [`gpu`].
const GPU_FIELDS: &str = "--query-gpu=index,uuid,name,driver_version,memory.total,memory.used,\
                          utilization.gpu,temperature.gpu,power.draw,power.limit,mig.mode.current";
/// What is asked of each process, in the order of [`add_process`].
const PROCESS_FIELDS: &str = "--query-compute-apps=gpu_uuid,pid,used_memory";
const FORMAT: &str = "--format=csv,noheader,nounits";

/// Every GPU as the program says now.
///
/// # Errors
/// Why it cannot be run or says nothing.
pub fn read() -> Result<Vec<Reading>, String> {
    let gpus = output(PROGRAM, &[GPU_FIELDS, FORMAT], TIME)?;
    let mut readings = gpus_of(&gpus);
    if readings.is_empty() {
        let first = gpus.lines().next().unwrap_or_default();
        return Err(format!("it names no GPU: {first}"));
    }
    if let Ok(processes) = output(PROGRAM, &[PROCESS_FIELDS, FORMAT], TIME) {
        for reading in &mut readings {
            reading.processes = Some(Processes::new());
        }
        for line in processes.lines() {
            add_process(&mut readings, line);
        }
    }
    Ok(readings)
}

/// What it says of GPUs; lines of another form, its messages, are passed over.
fn gpus_of(text: &str) -> Vec<Reading> {
    text.lines().filter_map(gpu).take(limits::MAX_DEVICES).collect()
}

fn gpu(line: &str) -> Option<Reading> {
    let words: Vec<&str> = line.split(',').map(str::trim).collect();
    let [index, uuid, name, driver, total, used, busy, celsius, power, limit, mig] =
        *words.as_slice()
    else {
        return None;
    };
    let index = index.parse().ok()?;
    let info = DeviceInfo {
        name: said(name),
        driver: said(driver),
        memory_total_bytes: mebibytes(total),
        memory_used_bytes: mebibytes(used),
        utilisation_percent: busy.parse().ok(),
        temperature_celsius: celsius.parse().ok(),
        power_milliwatts: watts(power),
        power_limit_milliwatts: watts(limit),
        mig_enabled: match mig {
            "Enabled" => Some(true),
            "Disabled" => Some(false),
            _ => None,
        },
        source: Some(Source::NvidiaSmi),
        can_compute: Some(false),
        ..DeviceInfo::new(Device { backend: Backend::Cuda, index })
    };
    let is_lost = words.iter().any(|word| word.contains("GPU is lost"));
    Some(Reading { key: said(uuid), info, processes: None, is_lost })
}

fn add_process(readings: &mut [Reading], line: &str) {
    let words: Vec<&str> = line.split(',').map(str::trim).collect();
    let [uuid, pid, used] = *words.as_slice() else { return };
    let its = readings.iter_mut().find(|reading| reading.key.as_deref() == Some(uuid));
    if let (Some(its), Ok(pid)) = (its, pid.parse()) {
        its.processes.get_or_insert_default().insert(pid, mebibytes(used));
    }
}

/// A text, unless it stands for none: `[N/A]`, `[Not Supported]`, `[GPU is lost]`.
fn said(word: &str) -> Option<String> {
    (!word.is_empty() && !word.starts_with('[')).then(|| word.to_owned())
}

fn mebibytes(word: &str) -> Option<u64> {
    word.parse::<u64>().ok()?.checked_mul(1 << 20)
}

/// Thousandths of a watt, of watts with at most two decimals.
fn watts(word: &str) -> Option<u64> {
    let (whole, part) = word.split_once('.').unwrap_or((word, "0"));
    if part.is_empty() || part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = format!("{part:0<3}").parse::<u64>().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(part)
}

/// What a program writes, when it ends within `time` and writes no more than may be read.
fn output(program: &str, args: &[&str], time: Duration) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let read = drain(&mut child, Instant::now() + time);
    // Whatever it does now, nobody reads it any more.
    let _ended = child.kill();
    let _status = child.wait();
    String::from_utf8(read?).map_err(|_| "it does not write text".to_owned())
}

fn drain(child: &mut Child, until: Instant) -> Result<Vec<u8>, String> {
    let Some(mut pipe) = child.stdout.take() else { return Ok(Vec::new()) };
    let (mut all, mut part) = (Vec::new(), [0_u8; 8192]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|error| error.to_string())?;
        let mut waits = [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)];
        match poll(&mut waits, Some(&timeout)) {
            Ok(0) => return Err("it does not end".to_owned()),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.to_string()),
        }
        match pipe.read(&mut part) {
            Ok(0) => return Ok(all),
            Ok(count) => all.extend(part.iter().take(count)),
            Err(error) => return Err(error.to_string()),
        }
        if all.len() > MOST_OUTPUT_BYTES {
            return Err("it writes without end".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TWO: &str = "0, GPU-a, NVIDIA H200, 570.86.15, 143771, 4, 97, 41, 76.17, 700.00, \
                       Disabled\n\
                       1, GPU-b, Tesla K80, 470.1, 11441, [N/A], [N/A], 30, [Not Supported], \
                       [N/A], [N/A]\n\
                       Unable to determine the device handle for GPU 0000:02:00.0: GPU is lost.\n";

    #[test]
    fn what_it_says_is_read_and_what_it_does_not_have_is_absent() {
        let readings = gpus_of(TWO);
        let (full, poor) = (&readings[0].info, &readings[1].info);
        assert_eq!(readings.len(), 2);
        assert_eq!(full.name.as_deref(), Some("NVIDIA H200"));
        assert_eq!(full.memory_total_bytes, Some(143_771 << 20));
        assert_eq!(
            (full.power_milliwatts, full.power_limit_milliwatts),
            (Some(76_170), Some(700_000))
        );
        assert_eq!((full.mig_enabled, full.can_compute), (Some(false), Some(false)));
        assert_eq!((poor.memory_used_bytes, poor.power_milliwatts), (None, None));
        assert_eq!((poor.utilisation_percent, poor.mig_enabled), (None, None));
    }

    #[test]
    fn memory_is_told_by_process_and_by_gpu() {
        let mut readings = gpus_of(TWO);
        for line in ["GPU-b, 4242, 512", "GPU-a, 7, [N/A]", "GPU-c, 1, 1", "no line of it"] {
            add_process(&mut readings, line);
        }
        let of = |at: usize| readings[at].processes.clone().unwrap();
        assert_eq!((of(1), of(0)), ([(4242, Some(512 << 20))].into(), [(7, None)].into()));
    }

    #[test]
    fn a_program_that_hangs_or_writes_without_end_is_ended() {
        let moment = Duration::from_millis(200);
        assert_eq!(output("sleep", &["60"], moment).unwrap_err(), "it does not end");
        assert_eq!(output("yes", &[], TIME).unwrap_err(), "it writes without end");
        assert!(output("no-such-program-of-rbee", &[], TIME).is_err());
    }

    proptest! {
        #[test]
        fn no_line_is_too_odd(text in "(\\PC{0,12}, ?){8,12}") {
            for reading in gpus_of(&text) {
                prop_assert!(reading.info.source.is_some());
            }
            add_process(&mut gpus_of(&text), &text);
        }
    }
}

//! AMD's GPUs by the files of their driver: sysfs, and the fdinfo of own processes.
//!
//! Files and units: the kernel's "amdgpu" and "drm-usage-stats" documents.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use wire::device::{Backend, Device, DeviceInfo, Source};
use wire::limits;

use super::gpu::{Processes, Reading};

/// The PCI vendor of AMD's GPUs.
const VENDOR: &str = "0x1002";
/// Bytes of a file that are read: all of these are a line, and fdinfo some dozen.
const MOST_FILE_BYTES: u64 = 8 * 1024;
/// Open files of one process that are looked at.
const MOST_FILES: usize = 4096;

/// Where the kernel shows its files.
#[derive(Debug, Clone)]
pub struct Roots {
    /// The directory of graphics cards.
    pub drm: PathBuf,
    /// The directory of processes.
    pub proc: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { drm: "/sys/class/drm".into(), proc: "/proc".into() }
    }
}

/// Every GPU as its files say now, with what the processes `own` have of it.
pub fn read(roots: &Roots, own: &[u32]) -> Vec<Reading> {
    let held = memory_by_process(&roots.proc, own);
    let mut cards: Vec<(u32, PathBuf)> = fs::read_dir(&roots.drm)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            // `card0`, and neither `card0-DP-1` nor `renderD128`.
            let number = entry.file_name().to_str()?.strip_prefix("card")?.parse().ok()?;
            Some((number, entry.path().join("device")))
        })
        .filter(|(_, device)| line(&device.join("vendor")).as_deref() == Some(VENDOR))
        .collect();
    cards.sort();
    let indices = 0..=limits::MAX_DEVICE_INDEX;
    indices.zip(cards).map(|(index, (_, device))| one(index, &device, &held)).collect()
}

fn one(index: u32, device: &Path, held: &BTreeMap<String, Processes>) -> Reading {
    let address = fs::canonicalize(device).ok();
    let address = address.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let sensors = fs::read_dir(device.join("hwmon")).ok().and_then(|mut all| all.next()?.ok());
    let sensor = |name: &str| number::<i64>(&sensors.as_ref()?.path().join(name));
    let milliwatts = |name: &str| u64::try_from(sensor(name)? / 1000).ok();
    let info = DeviceInfo {
        name: line(&device.join("product_name")),
        memory_total_bytes: number(&device.join("mem_info_vram_total")),
        memory_used_bytes: number(&device.join("mem_info_vram_used")),
        utilisation_percent: number(&device.join("gpu_busy_percent")),
        temperature_celsius: sensor("temp1_input").and_then(|it| i32::try_from(it / 1000).ok()),
        power_milliwatts: milliwatts("power1_average").or_else(|| milliwatts("power1_input")),
        power_limit_milliwatts: milliwatts("power1_cap"),
        source: Some(Source::Sysfs),
        can_compute: Some(false),
        ..DeviceInfo::new(Device { backend: Backend::Rocm, index })
    };
    let processes = address.as_ref().map(|at| held.get(at).cloned().unwrap_or_default());
    Reading { key: address, info, processes, is_lost: false }
}

/// The bytes of memory that each of `own` has, by the address of the GPU.
fn memory_by_process(proc: &Path, own: &[u32]) -> BTreeMap<String, Processes> {
    let mut all: BTreeMap<String, Processes> = BTreeMap::new();
    for pid in own {
        for (address, bytes) in memory_of(&proc.join(pid.to_string()).join("fdinfo")) {
            all.entry(address).or_default().insert(*pid, Some(bytes));
        }
    }
    all
}

fn memory_of(fdinfo: &Path) -> BTreeMap<String, u64> {
    // Descriptors that were duplicated are one client of the driver.
    let mut clients: BTreeMap<(String, String), u64> = BTreeMap::new();
    for entry in fs::read_dir(fdinfo).into_iter().flatten().flatten().take(MOST_FILES) {
        let Some(text) = text(&entry.path()) else { continue };
        let of = |key: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            Some(value.trim().to_owned())
        };
        if of("drm-driver").as_deref() != Some("amdgpu") {
            continue;
        }
        let held = of("drm-memory-vram").or_else(|| of("drm-resident-vram"));
        let bytes = held.and_then(|held| quantity(&held));
        if let (Some(address), Some(client), Some(bytes)) =
            (of("drm-pdev"), of("drm-client-id"), bytes)
        {
            clients.insert((address, client), bytes);
        }
    }
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    for ((address, _), bytes) in clients {
        let sum = all.entry(address).or_default();
        *sum = sum.saturating_add(bytes);
    }
    all
}

/// Bytes of a number with its unit: `512 KiB`.
fn quantity(text: &str) -> Option<u64> {
    let (count, unit) = text.split_once(' ').unwrap_or((text, ""));
    let factor = match unit.trim() {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(factor)
}

fn number<T: std::str::FromStr>(path: &Path) -> Option<T> {
    line(path)?.parse().ok()
}

fn line(path: &Path) -> Option<String> {
    let text = text(path)?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(MOST_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory as the kernel shows two cards of AMD and one of somebody else.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            for (card, address, vendor) in [
                ("card10", "0000:0b:00.0", "0x1002\n"),
                ("card1", "0000:03:00.0", "0x1002\n"),
                ("card0", "0000:00:02.0", "0x8086\n"),
            ] {
                machine.write(&format!("devices/{address}/vendor"), vendor);
                fs::create_dir_all(machine.0.path().join("drm").join(card)).unwrap();
                let device = machine.0.path().join("devices").join(address);
                symlink(device, machine.0.path().join("drm").join(card).join("device")).unwrap();
            }
            fs::create_dir_all(machine.0.path().join("drm/card1-DP-1")).unwrap();
            machine
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn read(&self, own: &[u32]) -> Vec<Reading> {
            let (drm, proc) = (self.0.path().join("drm"), self.0.path().join("proc"));
            read(&Roots { drm, proc }, own)
        }
    }

    #[test]
    fn each_figure_is_read_from_its_file_and_absent_without_it() {
        let machine = Machine::new();
        for (file, text) in [
            ("product_name", "Radeon PRO W7900\n"),
            ("mem_info_vram_total", "48301604864\n"),
            ("mem_info_vram_used", "1073741824\n"),
            ("gpu_busy_percent", "37\n"),
            ("hwmon/hwmon4/temp1_input", "54000\n"),
            ("hwmon/hwmon4/power1_average", "96000000\n"),
            ("hwmon/hwmon4/power1_cap", "241000000\n"),
        ] {
            machine.write(&format!("devices/0000:03:00.0/{file}"), text);
        }
        let readings = machine.read(&[]);
        let info = &readings[0].info;
        assert_eq!(readings.len(), 2, "Intel's is none of AMD's: {readings:?}");
        assert_eq!(info.device.to_string(), "rocm:0");
        assert_eq!(info.name.as_deref(), Some("Radeon PRO W7900"));
        assert_eq!(info.memory_total_bytes, Some(48_301_604_864));
        assert_eq!((info.utilisation_percent, info.temperature_celsius), (Some(37), Some(54)));
        assert_eq!(info.power_milliwatts, Some(96_000));
        assert_eq!(info.power_limit_milliwatts, Some(241_000));
        let poor = &readings[1];
        assert_eq!(poor.key.as_deref(), Some("0000:0b:00.0"), "card10 comes after card1");
        let nothing = DeviceInfo {
            source: Some(Source::Sysfs),
            can_compute: Some(false),
            ..DeviceInfo::new("rocm:1".parse().unwrap())
        };
        assert_eq!(poor.info, nothing);
    }

    #[test]
    fn memory_of_own_processes_is_counted_once_for_each_client() {
        let machine = Machine::new();
        let client = |id: u32, kib: u64| {
            format!(
                "pos:\t0\ndrm-driver:\tamdgpu\ndrm-pdev:\t0000:03:00.0\ndrm-client-id:\t{id}\n\
                 drm-memory-vram:\t{kib} KiB\ndrm-memory-gtt:\t9 KiB\n"
            )
        };
        for (fd, text) in [
            (3, client(5, 1024)),
            (4, client(5, 1024)),
            (5, client(6, 512)),
            (6, "pos:\t0\nflags:\t02\n".to_owned()),
            (7, client(7, 1).replace("amdgpu", "i915")),
        ] {
            machine.write(&format!("proc/77/fdinfo/{fd}"), &text);
        }
        let readings = machine.read(&[77, 78]);
        assert_eq!(readings[0].processes, Some([(77, Some(1536 << 10))].into()));
        assert_eq!(readings[1].processes, Some(Processes::new()));
    }

    #[test]
    fn files_that_say_nonsense_say_nothing() {
        let machine = Machine::new();
        let device = "devices/0000:03:00.0";
        machine.write(&format!("{device}/mem_info_vram_total"), &"9".repeat(5000));
        machine.write(&format!("{device}/gpu_busy_percent"), "-3\n");
        machine.write(&format!("{device}/product_name"), "\n");
        machine.write(&format!("{device}/hwmon/hwmon0/power1_average"), "-7000\n");
        let info = &machine.read(&[])[0].info;
        let figures = (info.memory_total_bytes, info.utilisation_percent, info.power_milliwatts);
        assert_eq!((figures, &info.name), ((None, None, None), &None));
        assert_eq!(read(&Roots { drm: "/nowhere".into(), proc: "/nowhere".into() }, &[1]), []);
    }
}

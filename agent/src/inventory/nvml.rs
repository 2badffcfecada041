//! NVIDIA's GPUs by the management library, which is loaded when the program runs.

use std::path::{Path, PathBuf};

use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device as Handle, Nvml};
use wire::device::{Backend, Device, DeviceInfo, Source};
use wire::limits;

use super::gpu::{Processes, Reading};

/// The library where the system's loader finds it. A driver brings it, and nothing else does.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// What `nvmlDeviceGetMigMode` says of a GPU that is divided (`NVML_DEVICE_MIG_ENABLE`).
const MIG_ENABLED: u32 = 1;
/// Processes of one GPU beyond which their list is not asked for: its memory is taken by their
/// count.
const MOST_PROCESSES: u32 = 4096;

/// The library, once it could be loaded.
pub struct Library {
    path: PathBuf,
    nvml: Option<Nvml>,
    /// Whether what was loaded lacks what it must have.
    is_unfit: bool,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Library").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Library {
    /// The library at `path`, else where the loader looks. Nothing is loaded yet.
    pub fn at(path: Option<PathBuf>) -> Self {
        let path = path.unwrap_or_else(|| PathBuf::from(LIBRARY));
        Self { path, nvml: None, is_unfit: false }
    }

    /// Which library it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every GPU as the driver sees it now.
    ///
    /// # Errors
    /// Why the library cannot be loaded or does not answer.
    pub fn read(&mut self) -> Result<Vec<Reading>, String> {
        let nvml = match self.nvml.take() {
            Some(nvml) => nvml,
            None => self.open()?,
        };
        // One that has stopped answering is opened again the next time.
        let readings = all(&nvml).map_err(|error| error.to_string())?;
        self.nvml = Some(nvml);
        Ok(readings)
    }

    fn open(&mut self) -> Result<Nvml, String> {
        if self.is_unfit {
            return Err("it lacks functions of the library".to_owned());
        }
        let nvml = Nvml::builder()
            .lib_path(self.path.as_os_str())
            .init()
            .map_err(|error| error.to_string())?;
        if nvml.lib().nvmlShutdown.is_err() {
            // Whoever drops it would call what is not there.
            std::mem::forget(nvml);
            self.is_unfit = true;
            return self.open();
        }
        Ok(nvml)
    }
}

fn all(nvml: &Nvml) -> Result<Vec<Reading>, NvmlError> {
    let count = nvml.device_count()?;
    let driver = nvml.sys_driver_version().ok();
    let most = u32::try_from(limits::MAX_DEVICES).unwrap_or(u32::MAX);
    (0..count.min(most))
        .map(|index| {
            let blank = Reading::new(Device { backend: Backend::Cuda, index });
            match nvml.device_by_index(index) {
                Ok(handle) => Ok(one(&handle, blank.info.device, driver.clone())),
                Err(error) if is_lost(&error) => Ok(Reading { is_lost: true, ..blank }),
                // One that this user or container may not look at is there, and no more is known.
                Err(NvmlError::NoPermission | NvmlError::OperatingSystem) => Ok(blank),
                Err(error) => Err(error),
            }
        })
        .collect()
}

/// What one GPU says. A figure that the GPU or the library does not have is absent.
fn one(handle: &Handle<'_>, device: Device, driver: Option<String>) -> Reading {
    let mut lost = false;
    let memory = told(handle.memory_info(), &mut lost);
    let sensor = TemperatureSensor::Gpu;
    let celsius = told(handle.temperature(sensor), &mut lost);
    let info = DeviceInfo {
        name: told(handle.name(), &mut lost),
        memory_total_bytes: memory.as_ref().map(|memory| memory.total),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        utilisation_percent: told(handle.utilization_rates(), &mut lost).map(|rates| rates.gpu),
        temperature_celsius: celsius.and_then(|celsius| i32::try_from(celsius).ok()),
        power_milliwatts: told(handle.power_usage(), &mut lost).map(u64::from),
        power_limit_milliwatts: told(handle.enforced_power_limit(), &mut lost).map(u64::from),
        mig_enabled: told(handle.mig_mode(), &mut lost).map(|mode| mode.current == MIG_ENABLED),
        driver,
        source: Some(Source::Nvml),
        can_compute: Some(false),
        ..DeviceInfo::new(device)
    };
    let key = told(handle.uuid(), &mut lost);
    Reading { key, info, processes: processes(handle), is_lost: lost }
}

fn told<T>(answer: Result<T, NvmlError>, lost: &mut bool) -> Option<T> {
    *lost |= answer.as_ref().err().is_some_and(is_lost);
    answer.ok()
}

fn processes(handle: &Handle<'_>) -> Option<Processes> {
    let count = handle.running_compute_processes_count().ok()?;
    if count > MOST_PROCESSES {
        return None;
    }
    let mut all = Processes::new();
    for process in handle.running_compute_processes().ok()? {
        let bytes = match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        };
        // One of several instances of a GPU is listed for each that it uses.
        let sum = |before: Option<u64>| Some(before?.saturating_add(bytes?));
        all.entry(process.pid).and_modify(|before| *before = sum(*before)).or_insert(bytes);
    }
    Some(all)
}

fn is_lost(error: &NvmlError) -> bool {
    matches!(error, NvmlError::GpuLost | NvmlError::ResetRequired)
}

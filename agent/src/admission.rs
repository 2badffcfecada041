//! Whether a model fits this hive's memory, and with how much context.

use wire::device::{Backend, Device};
use wire::gguf::ModelShape;
use wire::{Code, Fault, limits};

/// Contexts tried in this order when none is asked for.
const DEFAULT_CTX_SIZES: [u32; 3] = [32_768, 16_384, 8_192];
/// Bytes of a worker besides its weights and caches: program, tokenizer, compute buffers.
const FIXED_OVERHEAD_BYTES: u64 = 64 * 1024 * 1024;
/// A tenth of the weights again: candle copies weights out of the file's mapping, and both the
/// copy's rounding and the tensor that is just being copied are resident at the same time.
const WEIGHT_OVERHEAD_DIVISOR: u64 = 10;
/// Bytes of one number in a key-value cache: f32 on the CPU.
const CACHE_ELEMENT_BYTES: u32 = 4;

/// The part of its need by which a worker may grow beyond it before the system ends it; the
/// configured margin comes on top (`worker_margin_bytes`).
const LIMIT_DIVISOR: u64 = 2;

/// What is known of memory at the moment of a decision.
#[expect(clippy::struct_field_names, reason = "each name says its unit")]
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Bytes that nobody uses now.
    pub available_bytes: u64,
    /// Bytes that loading workers will still take.
    pub promised_bytes: u64,
    /// Bytes that no worker may claim.
    pub reserve_bytes: u64,
    /// Bytes that a worker of this model took beyond what was computed, as measured before.
    pub overrun_bytes: u64,
}

impl Memory {
    /// Bytes that one more worker may take.
    pub fn free_bytes(self) -> u64 {
        self.available_bytes.saturating_sub(self.promised_bytes).saturating_sub(self.reserve_bytes)
    }
}

/// What a worker is let in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// Tokens of context.
    pub ctx_size: u32,
    /// Bytes of host memory that it is expected to take.
    pub need_bytes: u64,
}

/// The device that will compute.
///
/// # Errors
/// `BACKEND_UNAVAILABLE` naming what there is: this build computes on the CPU.
pub fn device(asked: Option<Device>) -> Result<Device, Fault> {
    match asked {
        None | Some(Device::CPU) => Ok(Device::CPU),
        Some(other) => {
            let message = format!("this hive has no device {other} that this build can use");
            Err(Fault::new(Code::BackendUnavailable, message)
                .detail("requested", other.to_string())
                .detail("available", vec![Backend::Cpu.as_str()])
                .hint("rbee run --device cpu"))
        }
    }
}

/// Bytes that a worker of `slots` sequences of `ctx` tokens takes.
pub fn need_bytes(shape: &ModelShape, ctx: u32, slots: u32) -> u64 {
    let weights = shape.weight_bytes.saturating_add(shape.half_float_bytes);
    weights
        .saturating_add(weights / WEIGHT_OVERHEAD_DIVISOR)
        .saturating_add(shape.kv_cache_bytes(ctx, slots, CACHE_ELEMENT_BYTES))
        .saturating_add(FIXED_OVERHEAD_BYTES)
}

/// Bytes beyond which a worker that was admitted with `need_bytes` is ended.
pub fn limit_bytes(need_bytes: u64, margin_bytes: u64) -> u64 {
    need_bytes.saturating_add(need_bytes / LIMIT_DIVISOR).saturating_add(margin_bytes)
}

/// Decides on a worker of `slots` sequences.
///
/// # Errors
/// `INVALID_ARGUMENT` for a context that the model does not have, `INSUFFICIENT_RAM` with the
/// figures and what would fit.
pub fn decide(
    shape: &ModelShape,
    asked: Option<u32>,
    slots: u32,
    memory: Memory,
) -> Result<Admitted, Fault> {
    let admitted = |ctx_size| {
        let need_bytes = need_bytes(shape, ctx_size, slots).saturating_add(memory.overrun_bytes);
        Admitted { ctx_size, need_bytes }
    };
    let fits = |a: &Admitted| a.need_bytes <= memory.free_bytes();
    if let Some(ctx) = asked {
        check_ctx(ctx, shape)?;
        let one = admitted(ctx);
        return if fits(&one) { Ok(one) } else { Err(too_big(shape, one, slots, memory)) };
    }
    let mut candidates: Vec<u32> =
        DEFAULT_CTX_SIZES.into_iter().filter(|ctx| *ctx <= shape.context).collect();
    if candidates.is_empty() {
        candidates.push(shape.context);
    }
    let smallest = candidates.last().copied().unwrap_or(shape.context);
    let found = candidates.into_iter().map(admitted).find(fits);
    found.ok_or_else(|| too_big(shape, admitted(smallest), slots, memory))
}

fn check_ctx(ctx: u32, shape: &ModelShape) -> Result<(), Fault> {
    let smallest = limits::MIN_CTX_SIZE.min(shape.context);
    if (smallest..=shape.context).contains(&ctx) {
        return Ok(());
    }
    let message = format!(
        "a context of {ctx} tokens was asked for; this model takes {smallest} to {}",
        shape.context
    );
    Err(Fault::new(Code::InvalidArgument, message)
        .detail("model_ctx", shape.context)
        .hint(format!("rbee run --ctx-size {}", ctx.clamp(smallest, shape.context))))
}

fn too_big(shape: &ModelShape, wanted: Admitted, slots: u32, memory: Memory) -> Fault {
    let free = memory.free_bytes();
    let message = format!(
        "the model needs {} MiB of memory with a context of {} tokens; {} MiB are free for workers",
        wanted.need_bytes.div_ceil(1 << 20),
        wanted.ctx_size,
        free >> 20
    );
    let fault = Fault::new(Code::InsufficientRam, message)
        .detail("required_bytes", wanted.need_bytes)
        .detail("available_bytes", memory.available_bytes)
        .detail("reserved_bytes", memory.promised_bytes.saturating_add(memory.reserve_bytes))
        .detail("ctx_size", wanted.ctx_size);
    let free_for_computed = free.saturating_sub(memory.overrun_bytes);
    let fault = match largest_fitting_ctx(shape, wanted.ctx_size, slots, free_for_computed) {
        Some(ctx) => fault.detail("fitting_ctx", ctx).hint(format!("rbee run --ctx-size {ctx}")),
        None => fault,
    };
    fault.hint("rbee ps  # then `rbee worker stop ID` frees a worker's memory")
}

/// The largest context below `below` that fits `free` bytes, rounded down to something sayable.
fn largest_fitting_ctx(shape: &ModelShape, below: u32, slots: u32, free: u64) -> Option<u32> {
    let fits = |ctx: &u32| need_bytes(shape, *ctx, slots) <= free;
    let halves = std::iter::successors(below.checked_ilog2(), |exponent| exponent.checked_sub(1));
    halves
        .map(|exponent| 1u32 << exponent)
        .filter(|ctx| (limits::MIN_CTX_SIZE..below).contains(ctx))
        .find(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    fn shape(context: u32, weight_bytes: u64) -> ModelShape {
        ModelShape {
            architecture: "llama".to_owned(),
            layers: 16,
            embedding: 2048,
            heads: 32,
            kv_heads: 8,
            head_dim: 64,
            value_dim: 64,
            feed_forward: 8192,
            context,
            vocab: 1000,
            weight_bytes,
            half_float_bytes: 0,
        }
    }

    fn memory(available: u64) -> Memory {
        Memory { available_bytes: available, promised_bytes: 0, reserve_bytes: 0, overrun_bytes: 0 }
    }

    #[test]
    fn the_default_context_is_the_largest_that_fits_and_the_model_has() {
        let decide = |context, free| decide(&shape(context, GIB), None, 1, memory(free));
        // 32k of this model are 2 GiB of cache, 16k 1 GiB, 8k half of one.
        assert_eq!(decide(131_072, 8 * GIB).unwrap().ctx_size, 32_768);
        assert_eq!(decide(131_072, 3 * GIB).unwrap().ctx_size, 16_384);
        assert_eq!(decide(131_072, 2 * GIB).unwrap().ctx_size, 8_192);
        assert_eq!(decide(20_000, 8 * GIB).unwrap().ctx_size, 16_384);
        assert_eq!(decide(512, 8 * GIB).unwrap().ctx_size, 512);
        let fault = decide(131_072, GIB).unwrap_err();
        assert_eq!(fault.code, Code::InsufficientRam);
        assert_eq!(fault.details["available_bytes"], GIB);
    }

    #[test]
    fn a_refusal_names_the_figures_and_a_context_that_really_fits() {
        let shape = shape(131_072, GIB);
        let fault = decide(&shape, Some(131_072), 1, memory(3 * GIB)).unwrap_err();
        assert_eq!(fault.details["required_bytes"], need_bytes(&shape, 131_072, 1));
        let ctx = u32::try_from(fault.details["fitting_ctx"].as_u64().unwrap()).unwrap();
        assert!(decide(&shape, Some(ctx), 1, memory(3 * GIB)).is_ok());
        assert!(fault.hints.iter().any(|hint| hint.contains("worker stop")));
    }

    #[test]
    fn what_was_measured_beyond_the_need_counts_also_in_the_context_that_is_offered() {
        let shape = shape(131_072, GIB);
        let measured = |free| Memory { overrun_bytes: GIB, ..memory(free) };
        let plain = decide(&shape, Some(8192), 1, memory(8 * GIB)).unwrap();
        let corrected = decide(&shape, Some(8192), 1, measured(8 * GIB)).unwrap();
        assert_eq!(corrected.need_bytes, plain.need_bytes + GIB);
        let fault = decide(&shape, Some(131_072), 1, measured(3 * GIB)).unwrap_err();
        let ctx = u32::try_from(fault.details["fitting_ctx"].as_u64().unwrap()).unwrap();
        assert!(decide(&shape, Some(ctx), 1, measured(3 * GIB)).is_ok());
    }

    #[test]
    fn sixteen_bit_floats_count_as_the_32_bits_that_they_become() {
        let quantized = shape(4096, GIB);
        let halves = ModelShape { half_float_bytes: GIB, ..quantized.clone() };
        let more = need_bytes(&halves, 4096, 1) - need_bytes(&quantized, 4096, 1);
        assert_eq!(more, GIB + 2 * GIB / 10 - GIB / 10);
    }

    #[test]
    fn a_context_beyond_the_models_own_is_refused_by_its_number() {
        let fault = decide(&shape(512, GIB), Some(513), 1, memory(64 * GIB)).unwrap_err();
        assert_eq!(fault.code, Code::InvalidArgument);
        assert_eq!(fault.details["model_ctx"], 512);
        assert!(decide(&shape(512, GIB), Some(0), 1, memory(64 * GIB)).is_err());
    }

    #[test]
    fn a_gpu_is_refused_by_name_and_never_replaced() {
        let fault = device(Some("cuda:1".parse().unwrap())).unwrap_err();
        assert_eq!(fault.code, Code::BackendUnavailable);
        assert_eq!(fault.details["available"], serde_json::json!(["cpu"]));
        assert_eq!(device(None).unwrap(), Device::CPU);
    }

    proptest! {
        #[test]
        fn what_is_admitted_fits_beside_reserve_and_promises(
            context in 64u32..200_000, weights in 0u64..8 * GIB, available in 0u64..16 * GIB,
            promised in 0u64..4 * GIB, reserve in 0u64..4 * GIB,
            asked in proptest::option::of(1u32..300_000), overrun in 0u64..2 * GIB,
        ) {
            let memory = Memory {
                available_bytes: available, promised_bytes: promised, reserve_bytes: reserve,
                overrun_bytes: overrun,
            };
            if let Ok(admitted) = decide(&shape(context, weights), asked, 1, memory) {
                prop_assert!(admitted.need_bytes + promised + reserve <= available);
                prop_assert!(admitted.need_bytes >= overrun);
                prop_assert!(limit_bytes(admitted.need_bytes, 0) >= admitted.need_bytes);
                prop_assert!(admitted.ctx_size <= context);
                prop_assert!(asked.is_none_or(|ctx| ctx == admitted.ctx_size));
            }
        }
    }
}

//! Whatever a message carries, the other side reads it as it was.

use std::fmt::Debug;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::device::{Backend, DeviceInfo, Source};
use wire::event::{Event, Resource, Snapshot, Warning};
use wire::fault::ErrorEnvelope;
use wire::generate::{
    ChatRequest, ChatRole, Choice, ChoiceLogprobs, ChosenLogprob, Chunk, Delta, FinishReason,
    FunctionCall, Message, TokenLogprob, ToolCall, Usage,
};
use wire::guard::{ExitRecord, GuardRecord, GuardStatus, ProcessIdentity, RECORD_VERSION};
use wire::hello::{Hello, ProtocolRange, Role};
use wire::memory::{Limit, LimitBy, MemoryUse};
use wire::ndjson;
use wire::sampling::{Logprobs, SamplingFields};
use wire::sse;
use wire::status::{EnginePhase, EngineStatus};
use wire::worker::{Exit, LastEnd, SpawnRequest, Supervision, WorkerInfo, WorkerSpec, WorkerState};
use wire::{BuildId, Code, Device, Fault, ModelRef, RequestId, Timings, WorkerId};

fn text() -> impl Strategy<Value = String> {
    "(\\PC|[\\x00-\\x1f\"\\\\]){0,20}"
}

fn id() -> impl Strategy<Value = WorkerId> {
    "[a-z0-9][a-z0-9-]{0,23}".prop_map(|text| text.parse().unwrap())
}

fn build() -> impl Strategy<Value = BuildId> {
    "[0-9a-f]{16}".prop_map(|text| text.parse().unwrap())
}

fn device() -> impl Strategy<Value = Device> {
    prop_oneof![
        Just(Device::CPU),
        (select(vec![Backend::Cuda, Backend::Rocm, Backend::Metal]), 0u32..=255)
            .prop_map(|(backend, index)| Device { backend, index }),
    ]
}

fn model() -> impl Strategy<Value = ModelRef> {
    let hub =
        "hf:[a-z][a-z0-9.-]{0,8}/[A-Z][a-z._-]{0,8}(:[A-Z0-9_]{1,6}|:[a-z]{1,4}/[a-z][a-z.]{0,3})?";
    let file = "file:/[a-z][a-z0-9 ._-]{0,12}";
    prop_oneof![Just("demo".to_owned()), hub, file].prop_map(|text| text.parse().unwrap())
}

fn exit() -> impl Strategy<Value = Exit> {
    prop_oneof![
        any::<i32>().prop_map(Exit::Code),
        any::<i32>().prop_map(Exit::Signal),
        Just(Exit::Unseen)
    ]
}

fn code() -> impl Strategy<Value = Code> {
    prop_oneof![
        9 => select(Code::ALL),
        1 => "[A-Z]{1,9}_OF_THE_FUTURE".prop_map(Code::Unknown),
    ]
}

fn state() -> impl Strategy<Value = WorkerState> {
    use WorkerState as S;
    prop_oneof![
        select(vec![
            S::Starting,
            S::Ready,
            S::Busy,
            S::Draining,
            S::Stopping,
            S::Stopped,
            S::Stale
        ]),
        any::<(u64, u64)>()
            .prop_map(|(bytes_done, bytes_total)| S::Loading { bytes_done, bytes_total }),
        (exit(), text()).prop_map(|(exit, stderr_tail)| S::Crashed { exit, stderr_tail }),
        (text(), of(code())).prop_map(|(why, code)| S::Failed { why, code }),
        any::<u32>().prop_map(|attempt| S::Restarting { attempt }),
    ]
}

fn limit() -> impl Strategy<Value = Limit> {
    let by = select(vec![LimitBy::Cgroup2, LimitBy::Cgroup1, LimitBy::Rlimit, LimitBy::None]);
    (by, any::<(Option<u64>, Option<u32>)>()).prop_map(|(by, (bytes, cpu_percent))| Limit {
        bytes,
        by,
        cpu_percent,
    })
}

fn warning() -> impl Strategy<Value = Warning> {
    let resource = select(vec![Resource::Memory, Resource::Disk]);
    (resource, any::<(u64, u64)>(), of(text())).prop_map(
        |(resource, (free_bytes, reserve_bytes), path)| Warning {
            resource,
            free_bytes,
            reserve_bytes,
            path,
        },
    )
}

prop_compose! {
    fn supervision()(
        restarts in any::<u32>(), times in any::<(Option<u64>, Option<u64>)>(),
        last_end in of((text(), text())),
    ) -> Supervision {
        let (started_unix_s, restart_in_ms) = times;
        let last_end = last_end.map(|(cause, stderr_tail)| LastEnd { cause, stderr_tail });
        Supervision { started_unix_s, restarts, restart_in_ms, last_end }
    }
}

prop_compose! {
    fn worker()(
        id in id(), model in model(), device in device(), state in state(),
        numbers in any::<(u32, u32, i64, u32, u32, u32)>(),
        optional in any::<(Option<u32>, Option<u64>, Option<u32>, Option<u64>)>(),
        limit in of(limit()),
        supervision in supervision(),
    ) -> WorkerInfo {
        let (ctx_size, slots, keep_alive_s, model_ctx, active, queued) = numbers;
        let (pid, memory_bytes, millitokens_per_s, unload_in_s) = optional;
        let spec = WorkerSpec { model, device, ctx_size, slots, keep_alive_s };
        WorkerInfo {
            id, spec, state, pid, model_ctx, active, queued, memory_bytes,
            millitokens_per_s, unload_in_s, limit, supervision,
        }
    }
}

prop_compose! {
    fn device_info()(
        device in device(), texts in (of(text()), of(text())),
        bytes in any::<[Option<u64>; 4]>(), power in any::<[Option<u64>; 2]>(),
        since in any::<[Option<u64>; 2]>(), flags in any::<[Option<bool>; 2]>(),
        figures in any::<(Option<u32>, Option<i32>)>(),
        source in of(select(vec![
            Source::System, Source::Nvml, Source::NvidiaSmi, Source::Sysfs, Source::Unknown,
        ])),
    ) -> DeviceInfo {
        let [memory_total_bytes, memory_used_bytes, memory_ours_bytes, memory_reserved_bytes] =
            bytes;
        let ([power_milliwatts, power_limit_milliwatts], (name, driver)) = (power, texts);
        let ([lost_since_unix_s, silent_since_unix_s], [mig_enabled, can_compute]) = (since, flags);
        let (utilisation_percent, temperature_celsius) = figures;
        DeviceInfo {
            device, name, memory_total_bytes, memory_used_bytes, memory_ours_bytes,
            memory_reserved_bytes, utilisation_percent, temperature_celsius, power_milliwatts,
            power_limit_milliwatts, mig_enabled, lost_since_unix_s, silent_since_unix_s, driver,
            source, can_compute,
        }
    }
}

prop_compose! {
    fn hello()(
        role in select(vec![Role::Agent, Role::Guard, Role::Worker]), build in build(),
        numbers in any::<(u32, u32, u32)>(), version in text(), features in vec(text(), 0..4),
    ) -> Hello {
        let (min, max, pid) = numbers;
        Hello { role, protocol: ProtocolRange { min, max }, build, version, pid, features }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let devices = || vec(device_info(), 0..3);
    let workers = || vec(worker(), 0..4);
    let warnings = || vec(warning(), 0..3);
    prop_oneof![
        (any::<u64>(), hello(), devices(), workers(), warnings()).prop_map(
            |(revision, hello, devices, workers, warnings)| {
                Event::Snapshot(Snapshot { revision, hello, devices, workers, warnings })
            }
        ),
        warnings().prop_map(|warnings| Event::Warnings { warnings }),
        (any::<u64>(), worker()).prop_map(|(revision, worker)| Event::Worker { revision, worker }),
        (any::<u64>(), id()).prop_map(|(revision, id)| Event::WorkerGone { revision, id }),
        (devices(), workers()).prop_map(|(devices, workers)| Event::Telemetry { devices, workers }),
        any::<u64>().prop_map(|revision| Event::Heartbeat { revision }),
    ]
}

prop_compose! {
    fn fault()(
        code in code(), message in text(), hints in vec(text(), 0..3), causes in vec(text(), 0..3),
        detail in of((text(), any::<u64>())), is_of_a_request in any::<bool>(),
    ) -> Fault {
        let mut fault = Fault::new(code, message);
        for (hint, cause) in hints.into_iter().zip(causes) {
            fault = fault.hint(hint).cause(cause);
        }
        if let Some((key, value)) = detail {
            fault = fault.detail(&key, value);
        }
        if is_of_a_request { fault.of_request(RequestId::random()) } else { fault }
    }
}

/// A number that JSON's decimal form keeps exactly.
fn number() -> impl Strategy<Value = f64> {
    (-4096i32..4096).prop_map(|n| f64::from(n) / 64.0)
}

prop_compose! {
    fn sampling()(
        floats in vec(of(number()), 7), numbers in vec(any::<Option<u32>>(), 4),
        seed in any::<Option<u64>>(), repeat_last_n in any::<Option<i64>>(),
        logit_bias in btree_map(any::<u32>(), number(), 0..4),
        logprobs in of(prop_oneof![
            any::<bool>().prop_map(Logprobs::Wanted), any::<u32>().prop_map(Logprobs::Top),
        ]),
        stop in vec(text(), 0..4), ignore_eos in any::<bool>(),
    ) -> SamplingFields {
        SamplingFields {
            temperature: floats[0],
            top_k: numbers[0],
            typical_p: floats[6],
            top_p: floats[1],
            min_p: floats[2],
            repeat_penalty: floats[3],
            presence_penalty: floats[4],
            frequency_penalty: floats[5],
            repeat_last_n,
            logit_bias,
            seed,
            max_tokens: numbers[1],
            min_tokens: numbers[2],
            stop,
            ignore_eos,
            logprobs,
            top_logprobs: numbers[3],
        }
    }
}

fn chat_request() -> impl Strategy<Value = ChatRequest> {
    let role = select(vec![ChatRole::System, ChatRole::User, ChatRole::Assistant]);
    let message = (role, text()).prop_map(|(role, content)| Message::new(role, content));
    (vec(message, 0..5), sampling()).prop_map(|(messages, sampling)| ChatRequest {
        messages,
        tools: None,
        sampling,
    })
}

prop_compose! {
    fn token_logprob()(
        id in any::<u32>(), token in text(), logprob in number(), bytes in vec(any::<u8>(), 0..4),
    ) -> TokenLogprob {
        TokenLogprob { id, token, logprob, bytes }
    }
}

prop_compose! {
    fn chunk()(
        id in text(), content in text(), reasoning_content in text(), text in text(),
        token_ids in vec(any::<u32>(), 0..4),
        finish_reason in of(select(vec![
            FinishReason::Stop, FinishReason::Length, FinishReason::ToolCalls,
        ])),
        logprobs in of(vec((token_logprob(), vec(token_logprob(), 0..3)), 0..3)),
        usage in of(any::<(u32, u32, u32, u32)>()),
        calls in vec((any::<u32>(), text(), text(), text()), 0..2),
    ) -> Chunk {
        let calls = calls.into_iter().map(|(index, id, name, arguments)| {
            let function = FunctionCall { name, arguments };
            ToolCall { index, id, kind: "function".to_owned(), function }
        });
        let delta = Delta { content, reasoning_content, tool_calls: calls.collect() };
        let usage = usage.map(|(prompt_tokens, completion_tokens, total_tokens, cached_tokens)| {
            Usage { prompt_tokens, completion_tokens, total_tokens, cached_tokens }
        });
        let logprobs = logprobs.map(|content| ChoiceLogprobs {
            content: content
                .into_iter()
                .map(|(chosen, top_logprobs)| ChosenLogprob { chosen, top_logprobs })
                .collect(),
        });
        let choices = vec![Choice { index: 0, delta, text, token_ids, logprobs, finish_reason }];
        Chunk { id, object: "chat.completion.chunk".to_owned(), choices, usage, timings: None }
    }
}

prop_compose! {
    fn status()(
        phase in prop_oneof![
            any::<(u64, u64)>().prop_map(|(bytes_done, bytes_total)| {
                EnginePhase::Loading { bytes_done, bytes_total }
            }),
            Just(EnginePhase::Serving),
            Just(EnginePhase::Draining),
        ],
        numbers in any::<(u32, u32, u32, u32, u32)>(), load_ms in any::<Option<u64>>(),
    ) -> EngineStatus {
        let (pid, ctx_size, slots, active, queued) = numbers;
        EngineStatus { phase, pid, ctx_size, slots, active, queued, load_ms }
    }
}

fn guard_status() -> impl Strategy<Value = GuardStatus> {
    let identity =
        || any::<(u32, u64)>().prop_map(|(pid, start_time)| ProcessIdentity { pid, start_time });
    let version = RECORD_VERSION;
    let memory = || {
        any::<(Option<u64>, bool)>()
            .prop_map(|(peak_bytes, out_of_memory)| MemoryUse { peak_bytes, out_of_memory })
    };
    let ended = (id(), exit(), any::<(bool, bool)>(), text(), of(fault()), of(memory())).prop_map(
        move |(id, exit, (told, killed), stderr_tail, fault, memory)| {
            GuardStatus::Ended(ExitRecord {
                version,
                id,
                exit,
                told,
                killed,
                stderr_tail,
                fault,
                memory,
            })
        },
    );
    let bounds = (of(limit()), vec(text(), 0..2));
    let running = (id(), text(), build(), identity(), identity(), of(text()), bounds).prop_map(
        move |(id, nonce, build, guard, engine, boot, (limit, groups))| {
            GuardStatus::Running(GuardRecord {
                version,
                id,
                nonce,
                build,
                guard,
                engine,
                boot,
                limit,
                groups,
            })
        },
    );
    prop_oneof![ended, running]
}

prop_compose! {
    fn spawn_request()(
        model in model(), device in of(device()), ctx_size in any::<Option<u32>>(),
        keep_alive_s in any::<Option<i64>>(), reuse in any::<bool>(),
    ) -> SpawnRequest {
        SpawnRequest { model, device, ctx_size, keep_alive_s, reuse }
    }
}

/// Sends values as a stream of lines in pieces of `cut` bytes.
fn sent<T>(values: &[T], cut: usize) -> Vec<T>
where
    T: Serialize + DeserializeOwned + Debug,
{
    let bytes: Vec<u8> = values.iter().flat_map(|value| ndjson::encode(value).unwrap()).collect();
    assert_eq!(bytes.split_inclusive(|byte| *byte == b'\n').count(), values.len());
    let (mut decoder, mut read) = (ndjson::Decoder::default(), Vec::new());
    for piece in bytes.chunks(cut) {
        decoder.push(piece, &mut read).unwrap();
    }
    read
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn events_cross_the_wire(events in vec(event(), 0..6), cut in 1usize..200) {
        prop_assert_eq!(sent(&events, cut), events);
    }

    #[test]
    fn engine_and_guard_statuses_cross_the_wire(
        engine in vec(status(), 0..6), guard in vec(guard_status(), 0..6), cut in 1usize..200,
    ) {
        prop_assert_eq!(sent(&engine, cut), engine);
        prop_assert_eq!(sent(&guard, cut), guard);
    }

    #[test]
    fn requests_and_faults_cross_the_wire(
        chats in vec(chat_request(), 0..3), spawns in vec(spawn_request(), 0..3),
        faults in vec(fault(), 0..3), cut in 1usize..200,
    ) {
        let faults: Vec<_> = faults.into_iter().map(|error| ErrorEnvelope { error }).collect();
        prop_assert_eq!(sent(&chats, cut), chats);
        prop_assert_eq!(sent(&spawns, cut), spawns);
        prop_assert_eq!(sent(&faults, cut), faults);
    }

    #[test]
    fn answers_cross_the_wire(
        chunks in vec(chunk(), 0..6), failure in of(fault()), cut in 1usize..200,
    ) {
        let mut bytes: Vec<u8> = chunks.iter().flat_map(|c| sse::encode(c).unwrap()).collect();
        let mut expected: Vec<_> = chunks.into_iter().map(sse::Item::Value).collect();
        if let Some(error) = failure {
            bytes.extend(sse::encode(&ErrorEnvelope { error: error.clone() }).unwrap());
            expected.push(sse::Item::Error(error));
        } else {
            bytes.extend(sse::encode_done());
            expected.push(sse::Item::Done);
        }
        let (mut decoder, mut read) = (sse::Decoder::default(), Vec::new());
        for piece in bytes.chunks(cut) {
            decoder.push::<Chunk>(piece, &mut read).unwrap();
        }
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn timings_cross_the_wire(ms in vec(1u64..86_400_000, 4)) {
        let time = |n: usize| Duration::from_millis(ms[n]);
        let timings = Timings {
            heartbeat: time(0), stale: time(1), dead: time(2), orphan_timeout: time(3),
            ..Timings::default()
        };
        prop_assert_eq!(sent(std::slice::from_ref(&timings), 7), [timings]);
    }
}

//! What bounds an engine: its control group where there can be one, and what the record says of it.

use std::path::Path;

use wire::Code;
use wire::guard::{ExitRecord, GuardSpec};
use wire::memory::{Containment, LimitBy, Wanted};
use wire::worker::Exit;

use crate::fixture::{Guarded, is_alive, role, shell, wait_until};
use crate::runner::tests;

tests! { "bounds":
    an_engine_that_outgrows_its_group_is_ended_and_the_record_says_why
    an_engine_that_gives_up_for_want_of_memory_is_named_too
    an_engine_that_is_killed_by_a_person_has_not_run_out_of_memory
    what_left_the_engines_process_group_ends_with_its_control_group
    an_engine_without_a_wish_has_no_group
}

const MIB: u64 = 1024 * 1024;

/// A shell whose own text grows to hundreds of MiB.
const GROWS: &str = "x=$(head -c 300000000 /dev/zero | tr '\\0' x); echo ${#x}";

fn bounded(script: &str) -> GuardSpec {
    let memory_bytes = Some(64 * MIB);
    GuardSpec { wanted: Wanted { memory_bytes, ..Wanted::default() }, ..shell(script) }
}

/// Whether guards can make control groups here, by their own word.
async fn can_make_groups() -> bool {
    let output = role(&["limits"]).stdout(std::process::Stdio::piped()).output().await.unwrap();
    let seen: Containment = serde_json::from_slice(&output.stdout).unwrap();
    let can = matches!(seen.by, LimitBy::Cgroup1 | LimitBy::Cgroup2);
    if can {
        assert_eq!(seen.why, Vec::<String>::new());
    } else {
        println!("no control groups here: {}", seen.why.join("; "));
        assert!(!seen.why.is_empty());
    }
    can
}

async fn an_engine_that_outgrows_its_group_is_ended_and_the_record_says_why() {
    if !can_make_groups().await {
        return;
    }
    let guarded = Guarded::start(&bounded(GROWS)).await;
    let record = guarded.record().await;
    let limit = record.limit.unwrap();
    assert_eq!(limit.bytes, Some(64 * MIB));
    assert!(matches!(limit.by, LimitBy::Cgroup1 | LimitBy::Cgroup2));
    let ended = guarded.exit().await;
    assert!(ran_out_of_memory(&ended), "{ended:?}");
    assert_eq!(ended.exit, Exit::Signal(9));
    let fault = ended.fault.unwrap();
    assert_eq!(fault.code, Code::OutOfMemory);
    assert!(fault.message.contains("its limit is 64 MiB"), "{fault}");
    assert!(fault.hints[0].contains("--ctx-size 1024"), "{:?}", fault.hints);
    assert_no_group(&record.groups).await;
}

async fn an_engine_that_gives_up_for_want_of_memory_is_named_too() {
    let script = "echo 'memory allocation of 4096 bytes failed' >&2; kill -ABRT $$";
    let mut spec = shell(script);
    spec.wanted.data_bytes = Some(32 * MIB);
    let guarded = Guarded::start(&spec).await;
    let limit = guarded.record().await.limit.unwrap();
    assert_eq!((limit.by, limit.bytes), (LimitBy::Rlimit, Some(32 * MIB)));
    let ended = guarded.exit().await;
    assert!(ran_out_of_memory(&ended), "{ended:?}");
    let fault = ended.fault.unwrap();
    assert!(fault.message.contains("its limit is 32 MiB (rlimit)"), "{fault}");
    assert_eq!(fault.causes, ["memory allocation of 4096 bytes failed"]);
}

async fn an_engine_that_is_killed_by_a_person_has_not_run_out_of_memory() {
    let guarded = Guarded::start(&bounded("kill -KILL $$")).await;
    let ended = guarded.exit().await;
    assert_eq!(ended.exit, Exit::Signal(9));
    assert!(!ran_out_of_memory(&ended), "{ended:?}");
    assert_eq!(ended.fault, None);
}

async fn what_left_the_engines_process_group_ends_with_its_control_group() {
    if !can_make_groups().await {
        return;
    }
    let script = r#"f=$(mktemp); setsid sh -c "echo \$\$ >&2; rm $f; exec sleep 600" </dev/null &
        while [ -e $f ]; do sleep 0.05; done"#;
    let guarded = Guarded::start(&bounded(script)).await;
    let record = guarded.record().await;
    let ended = guarded.exit().await;
    let descendant: u32 = ended.stderr_tail.trim().parse().unwrap();
    wait_until("the descendant is gone", || !is_alive(descendant)).await;
    assert_no_group(&record.groups).await;
}

async fn an_engine_without_a_wish_has_no_group() {
    let guarded = Guarded::start(&shell("read x")).await;
    let record = guarded.record().await;
    assert_eq!((record.limit.unwrap().by, record.groups.len()), (LimitBy::None, 0));
    guarded.stop().await;
}

fn ran_out_of_memory(ended: &ExitRecord) -> bool {
    ended.memory.is_some_and(|memory| memory.out_of_memory)
}

async fn assert_no_group(dirs: &[String]) {
    assert!(!dirs.is_empty());
    for dir in dirs {
        wait_until(&format!("{dir} is gone"), || !Path::new(dir).exists()).await;
    }
}

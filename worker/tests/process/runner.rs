//! Runs named tests, a few at a time, and reports like libtest.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

/// A claim and its proof.
pub type Test = (&'static str, fn() -> Pin<Box<dyn Future<Output = ()>>>);

/// No test takes this long, on any machine.
const TEST_BOUND: Duration = Duration::from_secs(120);
/// Tests at once: most of them wait for other processes.
const PARALLEL: usize = 4;

/// Names the async functions of a module as its tests.
macro_rules! tests {
    ($module:literal: $($name:ident)*) => {
        /// Every test of this file.
        pub const TESTS: &[crate::runner::Test] =
            &[$((concat!($module, "::", stringify!($name)), || Box::pin($name()))),*];
    };
}
pub(crate) use tests;

/// Runs the tests whose names contain one of the arguments, or all; fails when one fails.
pub fn run(tests: &[Test]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (flags, filters): (Vec<_>, Vec<_>) = arguments.iter().partition(|a| a.starts_with('-'));
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(*f));
    let chosen: Vec<Test> = tests.iter().copied().filter(|(name, _)| wanted(name)).collect();
    if flags.iter().any(|flag| *flag == "--list") {
        for (name, _) in &chosen {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    println!("running {} tests", chosen.len());
    let queue = Mutex::new(chosen.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                loop {
                    let Some((name, test)) = queue.lock().unwrap().next() else { return };
                    let passed = passes(name, *test);
                    println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
                    if !passed {
                        failed.lock().unwrap().push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    let passed = chosen.len() - failed.len();
    println!("test result: {verdict}. {passed} passed; {} failed", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one test on a thread of its name, so that a panic says which.
fn passes(name: &str, test: fn() -> Pin<Box<dyn Future<Output = ()>>>) -> bool {
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(TEST_BOUND, test()).await.unwrap() });
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body).unwrap();
    thread.join().is_ok()
}

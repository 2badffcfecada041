//! One question to all hives at once.

use futures_util::future::join_all;
use wire::{Code, Fault};

use crate::context::Context;
use crate::failure::Failure;
use crate::link::way::Way;
use crate::link::{self, Transport};

/// Asks all hives at once, each for as long as a connection may take. Those that cannot be asked
/// are named on standard error.
///
/// # Errors
/// When none can be asked.
pub async fn ask_all<'w, T, A: Future<Output = Result<T, Fault>>>(
    ways: &'w [Way],
    context: &Context,
    ask: impl Fn(&'w Way) -> A,
) -> Result<Vec<T>, Failure> {
    let bound = context.config.timings.ssh_connect;
    let asked = ways.iter().map(|way| {
        let answer = ask(way);
        async move {
            let answer = context.dialer.deadline(bound).within(answer).await;
            answer.unwrap_or_else(|| {
                let message = format!("no answer within {} s", bound.as_secs_f32());
                Err(Fault::new(Code::HiveUnreachable, message).hint(link::doctor(way.hive())))
            })
        }
    });
    let outcomes = join_all(asked).await;
    let alone = ways.len() == 1;
    let (mut answers, mut failure) = (Vec::new(), None);
    for (way, outcome) in ways.iter().zip(outcomes) {
        match outcome {
            Ok(answer) => answers.push(answer),
            Err(fault) => {
                if !alone {
                    context.warn_of(way.hive(), &fault);
                }
                failure = failure.or(Some(fault));
            }
        }
    }
    match failure {
        Some(fault) if answers.is_empty() => Err(fault.into()),
        _ => Ok(answers),
    }
}

//! Bounds on waiting for a server, from which the time that a person needs to answer is left out.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use crate::ssh::person::{NewHostKey, Person};

/// How often a bound that has passed is looked at while a question is open.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
struct Thinking {
    questions: usize,
    since: Option<Instant>,
    total: Duration,
}

/// How long a person has been thinking.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<Mutex<Thinking>>);

impl Clock {
    /// Time does not count until the guard is dropped.
    pub fn pause(&self) -> Pause {
        let mut thinking = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        thinking.questions += 1;
        thinking.since.get_or_insert_with(Instant::now);
        Pause(self.clone())
    }

    /// The time spent so far, and whether it goes on.
    fn spent(&self) -> (Duration, bool) {
        let thinking = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = thinking.since.map_or(Duration::ZERO, |since| since.elapsed());
        (thinking.total + now, thinking.since.is_some())
    }
}

/// Somebody is thinking.
#[derive(Debug)]
pub struct Pause(Clock);

impl Drop for Pause {
    fn drop(&mut self) {
        let mut thinking = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        thinking.questions = thinking.questions.saturating_sub(1);
        if thinking.questions == 0
            && let Some(since) = thinking.since.take()
        {
            thinking.total += since.elapsed();
        }
    }
}

/// The end of one attempt.
#[derive(Debug)]
pub struct Deadline {
    clock: Clock,
    /// When it would end if nobody had thought since the clock's beginning.
    end: Instant,
}

impl Deadline {
    /// An attempt that begins now and may take `limit`.
    pub fn new(clock: Clock, limit: Duration) -> Self {
        let (before, _) = clock.spent();
        let now = Instant::now();
        let end = now.checked_add(limit).and_then(|end| end.checked_sub(before)).unwrap_or(now);
        Self { clock, end }
    }

    /// What `work` comes to, or nothing if it does not in time.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            let (spent, goes_on) = self.clock.spent();
            let (now, mut end) = (Instant::now(), self.end + spent);
            if goes_on {
                end = end.max(now + LOOK);
            } else if end <= now {
                return None;
            }
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = sleep_until(end) => {}
            }
        }
    }
}

/// A person, and a clock that stands still while they are asked.
pub struct Timed {
    person: Arc<dyn Person>,
    clock: Clock,
}

impl Timed {
    /// `person`, timed by `clock`.
    pub fn new(person: Arc<dyn Person>, clock: Clock) -> Self {
        Self { person, clock }
    }
}

impl Person for Timed {
    fn trusts<'a>(&'a self, key: &'a NewHostKey) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let _pause = self.clock.pause();
            self.person.trusts(key).await
        })
    }

    fn answers<'a>(
        &'a self,
        prompt: &'a str,
        echo: bool,
    ) -> BoxFuture<'a, Option<Zeroizing<String>>> {
        Box::pin(async move {
            let _pause = self.clock.pause();
            self.person.answers(prompt, echo).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    #[tokio::test]
    async fn what_takes_too_long_is_given_up() {
        let deadline = Deadline::new(Clock::default(), Duration::from_millis(20));
        assert_eq!(deadline.within(std::future::pending::<()>()).await, None);
        assert_eq!(deadline.within(std::future::pending::<()>()).await, None, "at once");
    }

    #[tokio::test]
    async fn the_time_in_which_a_person_thinks_does_not_count() {
        let clock = Clock::default();
        let deadline = Deadline::new(clock.clone(), Duration::from_secs(1));
        let answered = deadline.within(async {
            let _pause = clock.pause();
            sleep(Duration::from_millis(1300)).await;
        });
        assert_eq!(answered.await, Some(()));
        assert_eq!(deadline.within(std::future::ready(1)).await, Some(1), "time is left");
        assert_eq!(deadline.within(std::future::pending::<()>()).await, None);
        let next = Deadline::new(clock.clone(), Duration::from_millis(20));
        assert_eq!(next.within(std::future::pending::<()>()).await, None, "a fresh bound");
    }
}

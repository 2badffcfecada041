//! How long one question to an agent and its answer take.

use std::time::{Duration, Instant};

use wire::Fault;

use super::Account;
use crate::link::Client;
use crate::output::clock::duration;

/// Questions that are asked; the middle one counts.
const ASKED: usize = 5;
/// Above this, each step of a person's work is felt.
pub const SLOW: Duration = Duration::from_millis(100);

/// The median round trip to an agent.
///
/// # Errors
/// When it does not answer.
pub async fn measure(client: &Client) -> Result<Duration, Fault> {
    let mut trips = [Duration::ZERO; ASKED];
    for trip in &mut trips {
        let began = Instant::now();
        client.greeting().await?;
        *trip = began.elapsed();
    }
    trips.sort_unstable();
    Ok(trips.get(ASKED / 2).copied().unwrap_or_default())
}

/// Milliseconds with their fraction, for scripts.
pub fn milliseconds(trip: Duration) -> f64 {
    (trip.as_secs_f64() * 1e6).round() / 1e3
}

/// Says that a hive is far away; never more than that.
pub fn warn(account: &dyn Account, trip: Duration) {
    if trip > SLOW {
        account.warns(&format!(
            "a round trip takes {}: answers stream as fast as ever, each command waits longer",
            duration(trip)
        ));
    }
}

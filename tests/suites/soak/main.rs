//! A soak: at random hives are asked, cancelled, killed, cut off and stopped, and after it all
//! nothing is left behind, nothing is promised to nobody, and no token was lost or came twice.
//!
//! `scripts/soak` runs it for as long as one likes; the suite runs a short one with shorter waits.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "what goes wrong here is a failed test"
)]

mod checks;
mod plan;
mod request;
mod tally;
mod world;

use std::time::Duration;

use plan::Length;
use world::World;

#[test]
fn what_is_asked_killed_cut_and_stopped_at_random_leaves_nothing_and_loses_nothing() {
    let length = Length::wanted();
    let Some(mut world) = World::make(&length) else { return };
    eprintln!("soak: {length}");
    world.learn();
    let steps = length.steps_between_calms();
    let mut calm_at = steps;
    while world.elapsed() < length.time {
        world.step();
        if world.steps >= calm_at {
            world.calm();
            calm_at = world.steps + steps;
        }
    }
    world.calm();
    world.end();
    let figures = world.tally.report(&length);
    eprintln!("{figures}");
    assert!(world.tally.answers() > 0, "it was asked something");
    assert!(world.elapsed() >= Duration::from_secs(1));
}

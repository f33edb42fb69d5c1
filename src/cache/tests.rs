//! The promise of this module (G4), against a server and a network that do everything in the worst order.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use self::world::World;
use super::Holds;

mod client;
mod corners;
mod server;
mod steps;
mod world;

/// Never older than what was answered to anybody here, than what its client has seen, than what was written elsewhere
/// longer ago than may be; never past its time. With a staleness of 0 never older than what was answered to anybody.
#[test]
fn no_read_is_older_than_it_may_be() {
    let config = ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() };
    let staleness = prop_oneof![Just(Duration::ZERO), Just(Duration::from_millis(20))];
    let steps = prop::collection::vec(steps::step(), 20..140);
    let (holds, hits) = (Holds::new(), Cell::new(0));
    let result = TestRunner::new(config).run(&(staleness, any::<bool>(), steps), |(staleness, keeps_nil, steps)| {
        let mut world = World::new(staleness, keeps_nil, Arc::clone(&holds));
        steps.iter().for_each(|step| world.step(step));
        hits.set(hits.get() + world.hits);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(hits.get() > 10_000, "only {} reads were answered from memory", hits.get());
}

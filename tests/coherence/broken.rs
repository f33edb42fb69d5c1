//! Each rule is needed: the protocol without it, and what then goes wrong.

use crate::rules::Rule;
use crate::scene::Deed::{Read, ReadPinned, Script, Write, WriteDirectly, WritePinned};
use crate::scene::{Promise, Scene};

#[test]
fn without_a_fence_two_proxies_do_not_agree() {
    Scene::of([&[Read(0), Read(0)], &[Write(1, 1)]])
        .without(Rule::ProveHits)
        .judged_twice()
        .breaks(Promise::Linearizable);
}

#[test]
fn without_a_fence_a_stalled_connection_is_believed_for_ever() {
    Scene::of([&[Read(0), Read(0)], &[WriteDirectly(1)]])
        .staleness(1)
        .without(Rule::ProveHits)
        .breaks(Promise::Staleness);
}

#[test]
fn a_lease_that_is_not_revoked_keeps_what_was_overwritten() {
    Scene::of([&[Read(0), Read(0)], &[WriteDirectly(1)]])
        .without(Rule::RevokeLeases)
        .judged_twice()
        .breaks(Promise::Linearizable);
}

#[test]
fn a_lease_that_is_not_revoked_by_a_write_outlives_its_acknowledgement() {
    Scene::of([&[Read(0), Read(0)], &[WritePinned(0, 1)]])
        .staleness(1)
        .without(Rule::RevokeLeases)
        .breaks(Promise::OwnProxy);
}

#[test]
fn without_a_hold_a_write_over_another_connection_is_not_seen_by_its_own_proxy() {
    Scene::of([&[Read(0), Read(0), Read(0)], &[WritePinned(0, 1)]])
        .staleness(1)
        .without(Rule::HoldWhatIsWritten)
        .breaks(Promise::OwnProxy);
}

#[test]
fn an_invalidation_on_a_connection_of_its_own_may_overtake_the_old_value() {
    Scene::of([&[Read(0), Read(0)], &[WriteDirectly(1)]])
        .without(Rule::OneConnection)
        .judged_twice()
        .breaks(Promise::Linearizable);
}

#[test]
fn a_ping_proves_nothing_of_a_server_that_has_been_demoted() {
    Scene::of([&[Read(0), Read(0), Read(0)], &[WriteDirectly(1)]])
        .staleness(1)
        .failover()
        .without(Rule::FenceByWriting)
        .breaks(Promise::Staleness);
}

#[test]
fn a_read_that_joins_a_fetch_may_get_what_was_overwritten_before_it_asked() {
    Scene::of([&[Read(0)], &[WriteDirectly(1), Read(0)]])
        .without(Rule::FenceJoined)
        .judged_twice()
        .breaks(Promise::Linearizable);
}

#[test]
fn without_a_fence_what_a_script_has_written_is_not_seen_by_its_own_proxy() {
    Scene::of([&[Read(0), Read(0), Read(0)], &[Script(0, 1)]])
        .staleness(1)
        .without(Rule::FenceAfterScripts)
        .breaks(Promise::OwnProxy);
}

#[test]
fn what_a_lost_connection_has_filled_is_never_invalidated() {
    Scene::of([&[Read(0), Read(0)], &[WriteDirectly(1)]])
        .losses(1)
        .without(Rule::NewGeneration)
        .judged_twice()
        .breaks(Promise::Linearizable);
}

#[test]
fn what_a_replaced_connection_fills_is_never_invalidated() {
    Scene::of([&[Read(0), Read(0)], &[WriteDirectly(1)]])
        .renewals(1)
        .without(Rule::NewGeneration)
        .judged_twice()
        .breaks(Promise::Linearizable);
}

#[test]
fn without_a_floor_a_client_may_see_the_new_value_and_then_the_old_one() {
    Scene::of([&[Read(0), Read(0), ReadPinned(0), Read(0)], &[WriteDirectly(1)]])
        .staleness(1)
        .without(Rule::FloorOfClients)
        .breaks(Promise::OwnClient);
}

#[test]
fn a_value_that_was_written_and_kept_is_never_invalidated() {
    Scene::of([&[Write(0, 1), Read(0)], &[WriteDirectly(2)]])
        .without(Rule::FillFromFetchesOnly)
        .judged_twice()
        .breaks(Promise::Linearizable);
}

#[test]
fn a_fence_sent_before_a_read_proves_nothing_to_it() {
    Scene::of([&[Read(0), Read(0)], &[Read(0)], &[WriteDirectly(1)]])
        .without(Rule::CountFromSending)
        .judged_twice()
        .breaks(Promise::Linearizable);
}

#[test]
fn a_fence_proves_nothing_of_the_time_it_was_under_way() {
    Scene::of([&[Read(0), Read(0)], &[WriteDirectly(1)]])
        .staleness(1)
        .without(Rule::CountFromSending)
        .breaks(Promise::Staleness);
}

#[test]
fn a_life_counted_from_when_it_was_told_is_too_long() {
    Scene::of([&[Read(0), Read(0)]]).staleness(1).expires(2).without(Rule::CountFromSending).breaks(Promise::Expiry);
}

#[test]
fn without_time_kept_here_a_session_outlives_its_end() {
    Scene::of([&[Read(0), Read(0)]]).staleness(1).expires(2).without(Rule::KeepTime).breaks(Promise::Expiry);
}

#[test]
fn a_key_that_expired_between_the_two_replies_of_a_fetch_would_live_for_ever() {
    Scene::of([&[Read(0), Read(0)]]).staleness(1).expires(2).without(Rule::FillTheLivingOnly).breaks(Promise::Expiry);
}

/// One proxy alone needs no fence as long as what it lost is executed no more.
#[test]
fn without_a_fence_a_lost_write_that_comes_late_is_seen_and_then_not() {
    Scene::of([&[Read(0), Read(0)], &[ReadPinned(0)], &[Write(0, 1)]])
        .losses(1)
        .without(Rule::ProveHits)
        .judged_twice()
        .breaks(Promise::Linearizable);
}

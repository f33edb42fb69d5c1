//! What each metric is, in the words Prometheus shows.

use metrics::{describe_counter as count, describe_gauge as level, describe_histogram as spread};

/// Tells the recorder in force.
pub(super) fn describe() {
    level!("cloakroom_build_info", "Always 1; the version is a label.");
    level!("cloakroom_client_connections", "Clients connected now.");
    count!("cloakroom_client_connections_total", "Clients connected since the start.");
    level!(
        "cloakroom_client_memory_bytes",
        "Requests and replies held for clients, of those who hold 16 KiB and more."
    );
    count!("cloakroom_auth_failures_total", "Wrong passwords of clients.");
    count!("cloakroom_client_disconnects_total", "Clients that have gone, by reason.");
    count!("cloakroom_requests_total", "Requests by command, however they were answered.");
    count!("cloakroom_client_received_bytes_total", "Bytes read from clients.");
    count!("cloakroom_client_sent_bytes_total", "Bytes written to clients.");
    level!("cloakroom_upstream_connections", "Connections to the server that are ready, by kind.");
    count!("cloakroom_pins_total", "Upstream connections given to one client for a while, by reason.");
    count!("cloakroom_upstream_connects_total", "Attempts to connect to the server, by result.");
    count!("cloakroom_upstream_losses_total", "Multiplexed connections lost, by cause.");
    count!("cloakroom_severs_total", "Lost connections the server was asked to forget, by result.");
    spread!("cloakroom_upstream_round_trip_seconds", "From sending a request to its reply; one sample a read.");
    count!("cloakroom_not_executed_total", "Requests answered as surely not executed.");
    count!("cloakroom_unknown_outcome_total", "Requests answered as perhaps executed.");
    count!("cloakroom_resent_reads_total", "Reads sent again after their connection was lost.");
    count!("cloakroom_lost_writes_found_total", "Writes whose connection was lost and whose effect was found.");
    count!("cloakroom_replayed_writes_total", "Lost writes that were sent again (reconnect = \"eager\").");
    count!(
        "cloakroom_refused_requests_total",
        "Requests the server would not execute for now, and that were sent again."
    );
    count!("cloakroom_upstream_renewals_total", "Connections made to take over from an old one, by result.");
    count!(
        "cloakroom_subscription_gaps_total",
        "Times a client was subscribed again because its connection was lost, and may have missed messages."
    );
    count!("cloakroom_unexpected_pushes_total", "Pushes of the server nobody asked for.");
    count!(
        "cloakroom_cache_untracked_total",
        "Connections whose server does not tell of changes, so that nothing is held in memory, by cause."
    );
    level!("cloakroom_cache_tracked_connections", "Connections whose server tells of changes.");
    level!("cloakroom_cache_bytes", "Bytes of the values held in memory.");
    level!("cloakroom_cache_entries", "Values held in memory.");
    count!("cloakroom_cache_hits_total", "Reads answered from memory.");
    count!("cloakroom_cache_waits_total", "Reads that waited for a fence to be answered from memory.");
    count!("cloakroom_cache_stale_total", "Reads answered from memory while the server was away.");
    count!("cloakroom_cache_misses_total", "Reads that were not answered from memory, by cause.");
    count!("cloakroom_cache_fills_total", "Values taken into memory.");
    count!("cloakroom_cache_fills_refused_total", "Values fetched and not taken into memory, by cause.");
    count!("cloakroom_cache_fences_total", "Round trips that prove what is held in memory, by result.");
    count!("cloakroom_cache_invalidations_total", "Changes of what may be held in memory, by what has told of them.");
    count!("cloakroom_cache_touches_total", "Keys the server was told of that they are in use.");
    count!("cloakroom_cache_evictions_total", "Values that had to leave memory for others.");
    count!("cloakroom_sessions_created_total", "Sessions that came into being.");
    count!("cloakroom_sessions_destroyed_total", "Sessions that a client has destroyed.");
    count!(
        "cloakroom_sessions_expired_total",
        "Sessions that were there when last read, and have ended by themselves."
    );
    count!("cloakroom_session_late_writes_total", "Writes that would have brought a destroyed session back.");
    count!("cloakroom_session_expiries_added_total", "Expiries added to sessions that would have had none.");
    count!("cloakroom_session_touches_saved_total", "Touches that were answered here, or had nothing to move.");
    count!("cloakroom_session_oversized_total", "Values refused because they are larger than max_value_size.");
    count!(
        "cloakroom_session_lost_updates_total",
        "Writes of sessions somebody else had written since they were read."
    );
    count!("cloakroom_forbidden_requests_total", "Requests refused by [commands].");
    spread!("cloakroom_session_value_bytes", "Sizes of the values written into sessions.");
    spread!("cloakroom_cache_proof_age_seconds", "How old the proofs of hits were, at most; one sample each 50 ms.");
}

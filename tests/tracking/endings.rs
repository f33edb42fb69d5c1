//! How a connection stops being told, and whether it learns of that.

use crate::servers;
use crate::tracked::Tracked;

/// Each leaves a connection that answers as before and hears nothing more: none of them may be passed on from a client.
#[test]
fn a_connection_that_stops_tracking_is_told_nothing_more() {
    for (program, server) in servers() {
        for ending in ["CLIENT TRACKING OFF", "HELLO 2", "RESET"] {
            let mut tracked = Tracked::connect(server.port());
            tracked.0.ask("SET k 1");
            assert_eq!(tracked.read("GET k"), "1");
            let reply = tracked.0.ask(ending);
            assert!(!reply.starts_with('-'), "{program}: {ending}: {reply}");
            server.cli(&["SET", "k", "2"]);
            assert_eq!(tracked.told(), [""; 0], "{program}: {ending}");
        }
    }
}

#[test]
fn a_connection_says_that_it_tracks() {
    for (program, server) in servers() {
        let mut tracked = Tracked::connect(server.port());
        let info = tracked.0.ask("CLIENT TRACKINGINFO");
        assert!(info.contains("$5 optin ") && info.contains("redirect :0"), "{program}: {info}");
        let reply = tracked.0.ask("CLIENT TRACKING ON BCAST");
        assert!(reply.starts_with("-ERR"), "{program}: {reply}");
    }
}

/// Replies may be switched off; what is told may not.
#[test]
fn a_connection_without_replies_is_told_all_the_same() {
    for (program, server) in servers() {
        let mut tracked = Tracked::connect(server.port());
        tracked.0.ask("SET k 1");
        assert_eq!(tracked.read("GET k"), "1");
        tracked.0.say(&["CLIENT REPLY OFF"]);
        server.cli(&["SET", "k", "2"]);
        assert_eq!(tracked.wait(), "inv(k)", "{program}");
    }
}

#[test]
fn a_connection_that_is_killed_sees_its_end() {
    for (program, server) in servers() {
        let mut tracked = Tracked::connect(server.port());
        assert_eq!(tracked.read("GET k"), "_");
        assert_eq!(server.cli(&["CLIENT", "KILL", "TYPE", "normal"]), "1", "{program}");
        assert!(tracked.0.try_frame().is_err(), "{program}");
    }
}

/// What changed in between is lost, and what did not is still told: all that the connection keeps has to go.
#[test]
fn a_connection_that_tracks_again_has_missed_what_came_in_between() {
    for (program, server) in servers() {
        let mut tracked = Tracked::connect(server.port());
        tracked.0.ask("MSET k 1 l 1");
        tracked.read("MGET k l");
        tracked.0.ask("CLIENT TRACKING OFF");
        server.cli(&["SET", "k", "2"]);
        tracked.0.ask("CLIENT TRACKING ON OPTIN");
        assert_eq!(tracked.told(), [""; 0], "{program}");
        server.cli(&["MSET", "k", "3", "l", "3"]);
        assert_eq!(tracked.told(), ["inv(l)"], "{program}");
    }
}

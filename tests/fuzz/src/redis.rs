//! A real server that a fuzzer can neither end, nor block, nor turn into something else.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use cloakroom::embedded::Embedded;

use crate::wire::{frame, request, shown};

/// What a proxy's client is not to do to this server, and why.
const FORBIDDEN: &[&str] = &[
    // It would end, stop answering, or follow another server.
    "shutdown debug replicaof slaveof failover migrate client|pause sync psync",
    // It would not be as it was, or write to the disk.
    "config module acl save bgsave bgrewriteaof",
    // A script may run for ever, and so may these.
    "eval eval_ro evalsha evalsha_ro fcall fcall_ro function script lcs pfselftest pfdebug",
    // A short request for a reply that no memory holds.
    "setrange setbit bitfield srandmember hrandfield zrandmember mget hmget sort sort_ro command",
    // Its payload is trusted.
    "restore restore-asking",
];

/// Starts the server, with a directory of its own, and returns its socket. It ends with the process.
///
/// # Errors
/// A sentence: none is installed, or it does not start.
pub fn start() -> Result<PathBuf, String> {
    let server = Embedded::start()?;
    let socket = server.socket();
    std::mem::forget(server);
    let words = FORBIDDEN.iter().flat_map(|line| line.split(' '));
    let rules: Vec<String> = words.map(|command| format!("-{command}")).collect();
    let mut set_user = vec!["ACL", "SETUSER", "default"];
    set_user.extend(rules.iter().map(String::as_str));
    let mut stream = UnixStream::connect(&socket).map_err(|error| error.to_string())?;
    for words in [
        "CONFIG SET maxmemory 64mb",
        "CONFIG SET maxmemory-policy allkeys-lru",
        "CONFIG SET proto-max-bulk-len 4mb",
        &set_user.join(" "),
    ] {
        let args: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        stream.write_all(&request(&args)).map_err(|error| error.to_string())?;
        let mut reply = Vec::new();
        while reply.is_empty() || frame(&reply).is_none() {
            let mut byte = [0];
            stream.read_exact(&mut byte).map_err(|error| error.to_string())?;
            reply.extend_from_slice(&byte);
        }
        if reply != b"+OK\r\n" {
            return Err(format!("{words}: {}", shown(&reply)));
        }
    }
    Ok(socket)
}

//! What a server says of its commands: its answer to `COMMAND`.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{RedisServer, ServerProgram};

/// What a server says of one of its commands.
pub struct Known {
    pub arity: i8,
    pub flags: BTreeSet<String>,
}

/// The server's table, by name in lower case, asked for as an operator would ask.
pub fn commands_of(program: &ServerProgram) -> BTreeMap<String, Known> {
    let server = RedisServer::with().program(program).start();
    let script = "local said = {} \
                  for _, c in ipairs(redis.call('COMMAND')) do \
                    local flags = {} \
                    for _, flag in ipairs(c[3]) do flags[#flags + 1] = flag.ok or flag end \
                    said[#said + 1] = c[1] .. ' ' .. c[2] .. ' ' .. table.concat(flags, ' ') \
                  end \
                  return said";
    let commands: BTreeMap<_, _> = server.cli(&["EVAL", script, "0"]).lines().map(known).collect();
    assert!(commands.len() > 200, "{} commands", commands.len());
    commands
}

fn known(line: &str) -> (String, Known) {
    let mut words = line.split(' ').map(str::to_owned);
    let name = words.next().expect("a name");
    let arity = words.next().and_then(|arity| arity.parse().ok()).unwrap_or_else(|| panic!("no arity in {line}"));
    // A module's own names come as the module writes them.
    (name.to_lowercase(), Known { arity, flags: words.collect() })
}

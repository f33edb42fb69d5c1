//! `HELLO [version [AUTH user password] [SETNAME name]]`

use super::{BAD_NAME, is_authenticated, is_valid_name, log_in, quoting};
use crate::command::Command;
use crate::downstream::client::Client;
use crate::resp::{Protocol, convert, decimal, encode};
use crate::upstream::NOT_EXECUTED;

const NOT_AUTHENTICATED: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH \
                                 <user> <pass> option can be used to authenticate the client and select the RESP protocol \
                                 version at the same time";

pub(super) fn answer(client: &mut Client, command: &Command<'_>) {
    let request = &command.request;
    let protocol = match request.arg(1).map(decimal) {
        None => client.protocol,
        Some(Some(2)) => Protocol::Resp2,
        Some(Some(3)) => Protocol::Resp3,
        Some(Some(_)) => return client.error("NOPROTO unsupported protocol version"),
        Some(None) => return client.error("ERR Protocol version is not an integer or out of range"),
    };
    // Nothing is changed before everything has been read.
    let (mut credentials, mut name, mut index) = (None, None, 2);
    while let Some(option) = request.arg(index) {
        match (request.arg(index + 1), request.arg(index + 2)) {
            (Some(user), Some(password)) if request.is(index, "auth") => {
                credentials = Some((user, password));
                index += 3;
            }
            (Some(text), _) if request.is(index, "setname") => {
                name = Some(text);
                index += 2;
            }
            _ => return client.error(quoting("ERR Syntax error in HELLO option '", option, "'")),
        }
    }
    // Never reached, the server has not said who it is: what it would answer is not known.
    let Some(identity) = client.worker.dispatch.server().identity() else { return client.error(NOT_EXECUTED) };
    if let Some((user, password)) = credentials
        && !log_in(client, user, password)
    {
        return;
    }
    if !is_authenticated(client) {
        return client.error(NOT_AUTHENTICATED);
    }
    if let Some(name) = name {
        if !is_valid_name(name) {
            return client.error(BAD_NAME);
        }
        client.entry.about().name = name.to_vec();
    }
    client.set_protocol(protocol);
    let id = client.entry.id;
    client.say(|out, protocol| {
        encode::map_header(out, protocol, 7);
        encode::bulk(out, b"server");
        encode::bulk(out, identity.server.as_bytes());
        encode::bulk(out, b"version");
        encode::bulk(out, identity.version.as_bytes());
        encode::bulk(out, b"proto");
        encode::integer(out, protocol.number().into());
        encode::bulk(out, b"id");
        encode::integer(out, i64::try_from(id).unwrap_or(i64::MAX));
        encode::bulk(out, b"mode");
        encode::bulk(out, identity.mode.as_bytes());
        encode::bulk(out, b"role");
        encode::bulk(out, b"master");
        encode::bulk(out, b"modules");
        match (protocol, identity.modules.as_slice()) {
            (_, []) => encode::array_header(out, 0),
            (Protocol::Resp3, modules) => out.extend_from_slice(modules),
            (Protocol::Resp2, modules) => convert::to_resp2(modules, out),
        }
    });
}

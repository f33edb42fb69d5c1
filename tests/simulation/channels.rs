//! Who hears what is published.

use super::{Connection, Id, Redis};
use crate::resp::Reply;

impl Redis {
    pub(super) fn subscribe(&mut self, id: Id, channels: &[Vec<u8>]) -> Option<Reply> {
        for channel in channels {
            let subscribed = &mut self.connection(id).channels;
            subscribed.insert(channel.clone());
            self.confirm(id, "subscribe", Reply::Text(channel.clone()));
        }
        None
    }

    pub(super) fn unsubscribe(&mut self, id: Id, channels: &[Vec<u8>]) -> Option<Reply> {
        let subscribed = self.connection(id).channels.iter().cloned().collect::<Vec<_>>();
        let channels = if channels.is_empty() { subscribed.as_slice() } else { channels };
        for channel in channels {
            self.connection(id).channels.remove(channel);
            self.confirm(id, "unsubscribe", Reply::Text(channel.clone()));
        }
        if channels.is_empty() {
            self.confirm(id, "unsubscribe", Reply::Null);
        }
        None
    }

    fn confirm(&mut self, id: Id, what: &str, channel: Reply) {
        let count = self.connection(id).channels.len() as i64;
        self.say(id, &Reply::Push(vec![Reply::text(what), channel, Reply::Integer(count)]));
    }

    pub(super) fn publish(&mut self, channel: &[u8], message: &[u8]) -> Reply {
        let hears = |connection: &Connection| connection.channels.contains(channel);
        let subscribers = self.connections.iter().filter(|(_, connection)| hears(connection));
        let subscribers: Vec<_> = subscribers.map(|(id, _)| *id).collect();
        let push = [&b"message"[..], channel, message].map(|text| Reply::Text(text.to_vec()));
        subscribers.iter().for_each(|id| self.say(*id, &Reply::Push(push.to_vec())));
        Reply::Integer(subscribers.len() as i64)
    }
}

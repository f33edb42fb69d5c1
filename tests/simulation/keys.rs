//! What the model of Redis holds: one database.

#[path = "flush.rs"]
mod flush;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) use flush::Held;

use super::resp::{Reply, integer};

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
const SYNTAX: &str = "ERR syntax error";

/// Milliseconds since 1970.
pub(crate) type Millis = i64;

type Key = Vec<u8>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(Vec<u8>),
    List(VecDeque<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
}

#[derive(Debug)]
struct Entry {
    value: Value,
    expires: Option<Millis>,
}

impl Entry {
    fn is_over(&self, now: Millis) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// The keys of one database.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    entries: BTreeMap<Key, Entry>,
    /// How often each key was changed.
    changes: BTreeMap<Key, u64>,
    /// Lists something was pushed to since this was last looked at.
    pub(crate) pushed: BTreeSet<Key>,
    /// Keys that were changed since this was last looked at, in the order of the changes.
    pub(crate) changed: Vec<Key>,
    /// Removes nothing of itself: its primary says what is to be removed.
    pub(crate) is_replica: bool,
}

/// An error is a reply as well.
type Result<T = Reply> = std::result::Result<T, Reply>;

fn fail<T>(text: &str) -> Result<T> {
    Err(Reply::error(text))
}

fn number(text: &[u8]) -> Result<i64> {
    integer(text).ok_or_else(|| Reply::error(NOT_AN_INTEGER))
}

impl Keys {
    /// A number that differs once the key has changed.
    pub(crate) fn version(&self, key: &[u8], now: Millis) -> u64 {
        // That it is removed when its time is over is no further change.
        let is_over = self.entries.get(key).is_some_and(|entry| entry.is_over(now));
        self.changes.get(key).copied().unwrap_or(0) + u64::from(is_over)
    }

    /// Runs a command, whose arity has been checked.
    pub(crate) fn run(&mut self, name: &str, args: &[Vec<u8>], now: Millis) -> Reply {
        self.try_run(name, args, now).unwrap_or_else(|error| error)
    }

    fn try_run(&mut self, name: &str, args: &[Vec<u8>], now: Millis) -> Result {
        match name {
            "get" => Ok(self.text(&args[0], now)?.map_or(Reply::Null, Reply::Text)),
            "mget" => Ok(Reply::Array(args.iter().map(|key| self.text_or_null(key, now)).collect())),
            "strlen" => Ok(Reply::Integer(self.text(&args[0], now)?.map_or(0, |text| text.len() as i64))),
            "exists" | "touch" => Ok(count(args, |key| self.look(key, now).is_some())),
            "ttl" | "pttl" => Ok(self.time_to_live(&args[0], now, name == "ttl")),
            "lrange" => self.range(args, now),
            "hmget" => self.fields(args, now),
            "set" => self.set(args, now),
            "setex" | "psetex" => self.set_expiring(name, args, now),
            "getset" => {
                let old = self.text(&args[0], now)?.map_or(Reply::Null, Reply::Text);
                self.put(&args[0], Value::Text(args[1].clone()), None);
                Ok(old)
            }
            "mset" if args.len() % 2 == 1 => fail("ERR wrong number of arguments for 'mset' command"),
            "mset" => {
                args.chunks(2).for_each(|pair| self.put_anew(&pair[0], &pair[1], None, now));
                Ok(Reply::OK)
            }
            "del" | "unlink" => Ok(count(args, |key| self.look(key, now).is_some() && self.remove(key))),
            "expire" | "pexpire" | "expireat" | "pexpireat" => self.expire(name, args, now),
            "persist" => {
                let had_one = self.look(&args[0], now).is_some_and(|entry| entry.expires.take().is_some());
                if had_one {
                    self.touch(&args[0]);
                }
                Ok(Reply::Integer(had_one.into()))
            }
            "incr" => self.increment(&args[0], now),
            "append" => self.append(args, now),
            "rpush" => self.push(args, now),
            "lpop" => Ok(self.pop(&args[0], now)?.map_or(Reply::Null, Reply::Text)),
            "hset" | "hmset" => self.set_fields(name, args, now),
            other => panic!("the model of Redis does not know {other}"),
        }
    }

    /// What is at `key`, unless its time is over.
    fn look(&mut self, key: &[u8], now: Millis) -> Option<&mut Entry> {
        let is_over = self.entries.get(key).is_some_and(|entry| entry.is_over(now));
        if is_over && !self.is_replica {
            self.remove(key);
        }
        self.entries.get_mut(key).filter(|_| !is_over)
    }

    fn touch(&mut self, key: &[u8]) {
        *self.changes.entry(key.to_vec()).or_default() += 1;
        self.changed.push(key.to_vec());
    }

    /// Whatever is there, be it something whose time is over.
    fn put_anew(&mut self, key: &[u8], text: &[u8], expires: Option<Millis>, now: Millis) {
        self.look(key, now);
        self.put(key, Value::Text(text.to_vec()), expires);
    }

    fn put(&mut self, key: &[u8], value: Value, expires: Option<Millis>) {
        self.entries.insert(key.to_vec(), Entry { value, expires });
        self.touch(key);
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        self.touch(key);
        self.entries.remove(key).is_some()
    }

    fn text(&mut self, key: &[u8], now: Millis) -> Result<Option<Vec<u8>>> {
        match self.look(key, now) {
            None => Ok(None),
            Some(Entry { value: Value::Text(text), .. }) => Ok(Some(text.clone())),
            Some(_) => fail(WRONG_TYPE),
        }
    }

    fn text_or_null(&mut self, key: &[u8], now: Millis) -> Reply {
        self.text(key, now).ok().flatten().map_or(Reply::Null, Reply::Text)
    }

    fn time_to_live(&mut self, key: &[u8], now: Millis, in_seconds: bool) -> Reply {
        let left = match self.look(key, now) {
            None => -2,
            Some(Entry { expires: None, .. }) => -1,
            Some(Entry { expires: Some(expires), .. }) if in_seconds => (*expires - now + 500) / 1000,
            Some(Entry { expires: Some(expires), .. }) => *expires - now,
        };
        Reply::Integer(left)
    }

    fn set(&mut self, args: &[Vec<u8>], now: Millis) -> Result {
        let (key, value) = (&args[0], &args[1]);
        let (mut expires, mut only_if, mut gets) = (None, None, false);
        let mut options = args[2..].iter();
        while let Some(option) = options.next() {
            match option.to_ascii_lowercase().as_slice() {
                name @ (b"nx" | b"xx") if only_if.is_none() => only_if = Some(name == b"xx"),
                b"get" => gets = true,
                unit @ (b"ex" | b"px") if expires.is_none() => {
                    let Some(length) = options.next() else { return fail(SYNTAX) };
                    expires = Some((length, if unit == b"ex" { 1000 } else { 1 }));
                }
                _ => return fail(SYNTAX),
            }
        }
        let expires = expires.map(|(length, unit)| deadline("set", length, unit, now)).transpose()?;
        let old = if gets { Some(self.text(key, now)?.map_or(Reply::Null, Reply::Text)) } else { None };
        if only_if.is_some_and(|must_exist| must_exist != self.look(key, now).is_some()) {
            return Ok(old.unwrap_or(Reply::Null));
        }
        self.put_anew(key, value, expires, now);
        Ok(old.unwrap_or(Reply::OK))
    }

    fn set_expiring(&mut self, name: &str, args: &[Vec<u8>], now: Millis) -> Result {
        let expires = deadline(name, &args[1], if name == "setex" { 1000 } else { 1 }, now)?;
        self.put_anew(&args[0], &args[2], Some(expires), now);
        Ok(Reply::OK)
    }

    fn expire(&mut self, name: &str, args: &[Vec<u8>], now: Millis) -> Result {
        let unit = if name.starts_with('p') { 1 } else { 1000 };
        let since = if name.ends_with("at") { 0 } else { now };
        let length = number(&args[1])?;
        let expires = length.checked_mul(unit).and_then(|length| length.checked_add(since));
        let Some(expires) = expires else { return fail(&format!("ERR invalid expire time in '{name}' command")) };
        let Some(entry) = self.look(&args[0], now) else { return Ok(Reply::Integer(0)) };
        if expires <= now {
            self.remove(&args[0]);
        } else {
            entry.expires = Some(expires);
            self.touch(&args[0]);
        }
        Ok(Reply::Integer(1))
    }

    fn increment(&mut self, key: &[u8], now: Millis) -> Result {
        let old = self.text(key, now)?.map_or(Ok(0), |text| number(&text))?;
        let Some(new) = old.checked_add(1) else { return fail("ERR increment or decrement would overflow") };
        let expires = self.entries.get(key).and_then(|entry| entry.expires);
        self.put(key, Value::Text(new.to_string().into_bytes()), expires);
        Ok(Reply::Integer(new))
    }

    fn append(&mut self, args: &[Vec<u8>], now: Millis) -> Result {
        let mut text = self.text(&args[0], now)?.unwrap_or_default();
        text.extend_from_slice(&args[1]);
        let (len, expires) = (text.len(), self.entries.get(&args[0]).and_then(|entry| entry.expires));
        self.put(&args[0], Value::Text(text), expires);
        Ok(Reply::Integer(len as i64))
    }

    fn list(&mut self, key: &[u8], now: Millis) -> Result<Option<&mut VecDeque<Vec<u8>>>> {
        match self.look(key, now) {
            None => Ok(None),
            Some(Entry { value: Value::List(list), .. }) => Ok(Some(list)),
            Some(_) => fail(WRONG_TYPE),
        }
    }

    fn push(&mut self, args: &[Vec<u8>], now: Millis) -> Result {
        let key = &args[0];
        if self.list(key, now)?.is_none() {
            self.put(key, Value::List(VecDeque::new()), None);
        }
        let list = self.list(key, now)?.expect("it was put there");
        list.extend(args[1..].iter().cloned());
        let len = list.len();
        self.touch(key);
        self.pushed.insert(key.clone());
        Ok(Reply::Integer(len as i64))
    }

    /// Takes the first element of a list.
    pub(crate) fn pop(&mut self, key: &[u8], now: Millis) -> Result<Option<Vec<u8>>> {
        let Some(list) = self.list(key, now)? else { return Ok(None) };
        let first = list.pop_front();
        if list.is_empty() {
            self.remove(key);
        } else {
            self.touch(key);
        }
        Ok(first)
    }

    fn range(&mut self, args: &[Vec<u8>], now: Millis) -> Result {
        let (first, last) = (number(&args[1])?, number(&args[2])?);
        let Some(list) = self.list(&args[0], now)? else { return Ok(Reply::Array(Vec::new())) };
        let len = list.len() as i64;
        let from_end = |at: i64| if at < 0 { at + len } else { at };
        let (first, last) = (from_end(first).max(0), from_end(last).min(len - 1));
        let elements = list.iter().take((last + 1).max(0) as usize).skip(first as usize);
        Ok(Reply::Array(elements.cloned().map(Reply::Text).collect()))
    }

    fn fields(&mut self, args: &[Vec<u8>], now: Millis) -> Result {
        let hash = match self.look(&args[0], now) {
            None => return Ok(Reply::Array(vec![Reply::Null; args.len() - 1])),
            Some(Entry { value: Value::Hash(hash), .. }) => hash,
            Some(_) => return fail(WRONG_TYPE),
        };
        let value = |field| hash.get(field).cloned().map_or(Reply::Null, Reply::Text);
        Ok(Reply::Array(args[1..].iter().map(value).collect()))
    }

    fn set_fields(&mut self, name: &str, args: &[Vec<u8>], now: Millis) -> Result {
        if args.len().is_multiple_of(2) {
            return fail(&format!("ERR wrong number of arguments for '{name}' command"));
        }
        if self.look(&args[0], now).is_none() {
            self.put(&args[0], Value::Hash(BTreeMap::new()), None);
        }
        let Some(Entry { value: Value::Hash(hash), .. }) = self.look(&args[0], now) else { return fail(WRONG_TYPE) };
        let new = args[1..].chunks(2).filter(|pair| hash.insert(pair[0].clone(), pair[1].clone()).is_none()).count();
        self.touch(&args[0]);
        Ok(if name == "hset" { Reply::Integer(new as i64) } else { Reply::OK })
    }
}

fn count(keys: &[Vec<u8>], is_counted: impl FnMut(&Vec<u8>) -> bool) -> Reply {
    Reply::Integer(keys.iter().map(is_counted).filter(|is_so| *is_so).count() as i64)
}

/// When a value that lives so long from now on is gone.
fn deadline(name: &str, length: &[u8], unit: i64, now: Millis) -> Result<Millis> {
    let length = number(length)?;
    let deadline = length.checked_mul(unit).and_then(|length| length.checked_add(now)).filter(|_| length > 0);
    deadline.ok_or_else(|| Reply::Error(format!("ERR invalid expire time in '{name}' command")))
}

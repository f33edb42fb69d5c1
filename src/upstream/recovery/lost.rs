//! From a lost connection to the next one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Arrival, HEALTHY, MAX_TRIES, OUTAGE, Recovery};
use crate::command::{Effect, Shape};
use crate::config::Reconnect;
use crate::outbox::{Form, Outbox};
use crate::resp::request::Parser;
use crate::session::Scripts;
use crate::upstream::in_flight::Left;
use crate::upstream::phase::{Event, Phase};
use crate::upstream::read_back::ReadBack;
use crate::upstream::ticket::{About, Audience, Endings, Look, LostWrite, Recipient, Ticket};
use crate::upstream::{NOT_EXECUTED, UNKNOWN_OUTCOME, replay};

impl Recovery {
    /// The connection is lost: answers what must be answered, keeps what may be sent again.
    ///
    /// What was not wholly written, and reads, surely change nothing when they are sent again; everything else
    /// may have run.
    pub(in crate::upstream) fn lost(&mut self, now: Instant, random: f64) {
        self.phase = self.phase.on(Event::Lost);
        self.was_lost = true;
        let was_good = self.link.has_answered || now.saturating_duration_since(self.link.since) > HEALTHY;
        if was_good {
            self.backoff.reset();
        }
        self.attempt_at = if was_good { now } else { now + self.backoff.next(random) };
        self.judge_again(now);
        let Left { requests, sent, was_answering } = self.queue.take_all();
        let last_writes = last_writes(&requests[..sent]);
        // What was refused would run behind a later write of its own client.
        for outbox in last_writes.values().map(|(_, outbox)| outbox) {
            self.pass_on_refusals(outbox);
        }
        let (mut looks, mut kept) = (Vec::new(), self.take_refused());
        for (index, (mut ticket, request)) in requests.into_iter().enumerate() {
            if ticket.is_repair() {
                kept.push((ticket, request));
                continue;
            }
            let Some(outbox) = ticket.client() else { continue };
            let is_sent = index < sent;
            // Nobody would hear what this read finds.
            if outbox.is_closed() && ticket.about.effect == Effect::Read {
                continue;
            }
            let is_look = matches!(ticket.audience, Some(Audience::Look(_)));
            if index == 0 && was_answering && !is_look {
                outbox.break_off();
                continue;
            }
            let is_harmless = ticket.about.effect == Effect::Read || !is_sent && !ticket.may_have_run();
            // A read must not find what the same client wrote behind it.
            let is_overtaken = is_sent && last_writes.get(&Rc::as_ptr(&outbox)).is_some_and(|(last, _)| index < *last);
            let stays = self.limits.reconnect != Reconnect::Off;
            if stays && is_harmless && !is_overtaken && ticket.tries < MAX_TRIES {
                if is_sent {
                    ticket.tries += 1;
                    ticket.unsent_since = now;
                    self.endings.kept += 1;
                }
                let place = if is_look { &mut looks } else { &mut kept };
                place.push((ticket, request));
            } else if is_harmless {
                self.endings.add(ticket.fail(NOT_EXECUTED));
            } else if stays {
                self.look(LostWrite { ticket, request, since: now }, !outbox.is_closed(), &mut looks);
            } else {
                self.endings.add(ticket.fail(UNKNOWN_OUTCOME));
            }
        }
        self.queue.put_first(looks.into_iter().chain(kept));
    }

    /// Asks on the next connection what became of a lost write, where that tells anything.
    fn look(&mut self, lost: LostWrite, is_waited_for: bool, looks: &mut Vec<(Ticket, Bytes)>) {
        let now = lost.since;
        // Where the rules have had a script run it, what it was asked to do is looked for.
        let asked = Parser::default().known(&lost.request).and_then(|request| self.scripts.command_of(&request));
        let asked = asked.as_deref().unwrap_or(&lost.request);
        let found = is_waited_for.then(|| ReadBack::of(asked, lost.ticket.since, now)).flatten();
        let Some((read_back, requests)) = found else { return self.lost.push(lost) };
        let look = Rc::new(RefCell::new(Look { read_back, lost: Some(lost) }));
        let about = About { effect: Effect::Read, shape: Shape::Any };
        looks.extend(requests.into_iter().map(|request| {
            let audience = Audience::Look(Rc::clone(&look));
            (Ticket::new(audience, request.len(), about, now), Bytes::from(request))
        }));
    }

    /// A connection is ready. What was lost before it is severed: what may have run then either has or never will.
    pub(in crate::upstream) fn connected(&mut self, arrival: Arrival, now: Instant, random: f64) {
        self.phase = self.phase.on(Event::Connected);
        self.begin_link(arrival, now, random);
        self.judge_lost(now);
        self.forget_abandoned(now);
        let looks = self.queue.len_of_first(|ticket| matches!(ticket.audience, Some(Audience::Look(_))));
        self.queue.hold_back_behind(looks);
        self.settle_if_drained(now);
    }

    /// What was lost is severed: which of it is sent again, and whose client is told that nobody knows.
    pub(super) fn judge_lost(&mut self, now: Instant) {
        for lost in std::mem::take(&mut self.lost) {
            self.decide(lost, now);
        }
    }

    /// What was to be sent a second time and was not, is judged anew on the next connection: others may write meanwhile.
    pub(super) fn judge_again(&mut self, now: Instant) {
        let again = self.again.drain(..).map(|lost| LostWrite { since: now, ..lost });
        self.lost.extend(again);
    }

    /// The same, for what waits in the queue already; the question whether the server is there is over. Nothing may be
    /// in flight.
    pub(super) fn judge_unsent_again(&mut self, now: Instant) {
        self.judge_again(now);
        drop(self.queue.take_such(Ticket::is_ours));
        let again = self.queue.take_such(Ticket::may_have_run).into_iter();
        self.lost.extend(again.map(|(ticket, request)| LostWrite { ticket, request, since: now }));
    }

    /// What its client gave up during an outage is not sent any more: it may have asked again elsewhere, and been
    /// answered. Without an outage it is, as a server would have run it.
    fn forget_abandoned(&mut self, now: Instant) {
        let was_lost = std::mem::take(&mut self.was_lost);
        let is_abandoned = |ticket: &Ticket| {
            let is_outage = was_lost || now.saturating_duration_since(ticket.unsent_since) >= OUTAGE;
            is_outage && !ticket.is_patient() && !ticket.is_waited_for()
        };
        for (ticket, _) in self.queue.take_such(is_abandoned) {
            let is_told = ticket.client().is_some_and(|outbox| !outbox.is_closed());
            let ending = ticket.fail(NOT_EXECUTED);
            self.endings.add(if is_told { ending } else { Endings::default() });
        }
    }

    /// The next reply to a look has come; the last one decides.
    pub(super) fn hear(&mut self, look: &Rc<RefCell<Look>>, frame: &[u8], now: Instant) {
        let mut look = look.borrow_mut();
        let Some(said) = look.read_back.hear(frame, now) else { return };
        let Some(lost) = look.lost.take() else { return };
        match (said, &lost.ticket.audience) {
            (Some(answer), Some(Audience::Client(Recipient { outbox, slot, .. }))) => {
                outbox.deliver(*slot, answer, Form::AsIs);
                self.endings.executed += 1;
            }
            _ => self.decide(lost, now),
        }
    }

    /// What was not found may have run all the same: it is sent again where that does no harm, or nobody knows.
    fn decide(&mut self, lost: LostWrite, now: Instant) {
        match self.repetition(&lost, now) {
            Some(_) => self.again.push(lost),
            None => self.endings.add(lost.ticket.fail(UNKNOWN_OUTCOME)),
        }
    }

    /// What may be sent again now in place of a lost write.
    fn repetition(&self, lost: &LostWrite, now: Instant) -> Option<Bytes> {
        let LostWrite { ticket, request, .. } = lost;
        let is_harmless = self.limits.reconnect == Reconnect::Eager
            && self.link.has_severed
            && ticket.tries < MAX_TRIES
            && ticket.hold.as_ref().is_some_and(|hold| hold.is_untouched())
            && ticket.is_waited_for();
        if is_harmless { again(&self.scripts, request, now - ticket.since) } else { None }
    }

    /// Once all is known of the lost writes: those that are sent again go first, then everything else.
    pub(super) fn settle_if_drained(&mut self, now: Instant) {
        if self.phase != Phase::Settling || !self.queue.is_drained() {
            return;
        }
        self.phase = self.phase.on(Event::Drained);
        self.queue.let_go();
        self.send_again(now);
    }

    /// Puts the writes that are sent again before everything else, in the order they were asked in.
    pub(super) fn send_again(&mut self, now: Instant) {
        let mut again = std::mem::take(&mut self.again);
        again.sort_by_key(|lost| lost.ticket.number);
        let mut first = Vec::new();
        for lost in again {
            // Somebody may have written meanwhile.
            let Some(request) = self.repetition(&lost, now) else {
                self.endings.add(lost.ticket.fail(UNKNOWN_OUTCOME));
                continue;
            };
            let tries = lost.ticket.tries + 1;
            first.push((Ticket { tries, len: request.len(), since: now, ..lost.ticket }, request));
        }
        self.endings.replayed += first.len() as u64;
        self.queue.put_first(first);
    }
}

/// What to send in place of a lost write, or of the script the session rules have had run it.
fn again(scripts: &Scripts, request: &[u8], elapsed: Duration) -> Option<Bytes> {
    let mut parser = Parser::default();
    let request = parser.known(request)?;
    let Some(command) = scripts.command_of(&request) else {
        return replay::again(request.frame(), elapsed).map(Bytes::from);
    };
    let again = replay::again(&command, elapsed)?;
    scripts.with_command(&request, &Parser::default().known(&again)?).map(Bytes::from)
}

/// For each client the place of its last write that was wholly written.
fn last_writes(sent: &[(Ticket, Bytes)]) -> HashMap<*const Outbox, (usize, Rc<Outbox>)> {
    let mut places = HashMap::new();
    for (index, (ticket, _)) in sent.iter().enumerate() {
        if let (Effect::Write, Some(Audience::Client(recipient))) = (ticket.about.effect, &ticket.audience) {
            places.insert(Rc::as_ptr(&recipient.outbox), (index, Rc::clone(&recipient.outbox)));
        }
    }
    places
}

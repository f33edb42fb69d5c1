//! The server and the way to it, as the proxy meets them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};

use super::keys::Millis;
use super::link::{self, Cut, Direction, Link};
use super::model::{Id, Redis};

/// When simulations begin.
const EPOCH: Millis = 1_700_000_000_000;

/// What becomes of those who connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Newcomers {
    Welcome,
    Refused,
    /// They hear nothing.
    Unanswered,
    Slow(Duration),
}

/// What the way is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// The longest anything takes, in milliseconds.
    pub(crate) delay: u64,
    /// The most bytes that go together.
    pub(crate) piece: usize,
    /// What a socket holds.
    pub(crate) socket: usize,
}

pub(crate) struct Network {
    pub(crate) began: Instant,
    redis: RefCell<Redis>,
    links: RefCell<Vec<Rc<Link>>>,
    pub(crate) newcomers: Cell<Newcomers>,
    /// For connections still to come: after so many bytes they are cut.
    pub(crate) cut_newcomers: Cell<Option<(usize, Direction, Cut)>>,
    pub(crate) weather: Cell<Weather>,
    random: RefCell<Rng>,
    unanswered: RefCell<Vec<oneshot::Sender<DuplexStream>>>,
    /// How long the next slow command takes.
    pub(crate) slowness: Cell<Duration>,
    wakes_at: Cell<Option<Millis>>,
    tasks: RefCell<Vec<JoinHandle<()>>>,
    /// What happened, if anybody wants to know.
    notes: Option<RefCell<Vec<String>>>,
}

impl Network {
    pub(crate) fn new(redis: Redis, weather: Weather, random: Rng, is_noted: bool) -> Rc<Self> {
        Rc::new(Self {
            began: Instant::now(),
            redis: RefCell::new(redis),
            links: RefCell::default(),
            newcomers: Cell::new(Newcomers::Welcome),
            cut_newcomers: Cell::new(None),
            weather: Cell::new(weather),
            random: RefCell::new(random),
            unanswered: RefCell::default(),
            slowness: Cell::new(Duration::ZERO),
            wakes_at: Cell::new(None),
            tasks: RefCell::default(),
            notes: is_noted.then(RefCell::default),
        })
    }

    /// Answers the proxy's wishes for connections, for ever.
    pub(crate) async fn listen(self: Rc<Self>, mut wishes: UnboundedReceiver<oneshot::Sender<DuplexStream>>) {
        while let Some(wish) = wishes.recv().await {
            self.spawn(Rc::clone(&self).welcome(wish));
        }
    }

    async fn welcome(self: Rc<Self>, wish: oneshot::Sender<DuplexStream>) {
        match self.newcomers.get() {
            Newcomers::Welcome => self.delay().await,
            Newcomers::Slow(length) => sleep(length).await,
            Newcomers::Unanswered => return self.unanswered.borrow_mut().push(wish),
            Newcomers::Refused => return,
        }
        let Some(id) = self.redis.borrow_mut().connect() else { return };
        let (ours, theirs) = duplex(self.weather.get().socket);
        let link = Rc::new(Link::new(id));
        if let Some((bytes, direction, cut)) = self.cut_newcomers.get() {
            link.cut_after(bytes, direction, cut);
        }
        self.note(|| format!("connection {id}"));
        self.links.borrow_mut().push(Rc::clone(&link));
        // One that nobody waits for any more is closed by the proxy's side.
        let _ = wish.send(theirs);
        link.run(ours, self).await;
    }

    /// The connections there are, the oldest first.
    pub(crate) fn links(&self) -> Vec<Rc<Link>> {
        self.links.borrow().clone()
    }

    pub(crate) fn forget(&self, link: &Rc<Link>) {
        self.note(|| format!("connection {} is over", link.id));
        self.links.borrow_mut().retain(|other| !Rc::ptr_eq(other, link));
    }

    /// Does something to the server, and tells those whom it concerns.
    pub(crate) fn with_redis<T>(self: &Rc<Self>, act: impl FnOnce(&mut Redis, Millis) -> T) -> T {
        let now = self.clock();
        let mut redis = self.redis.borrow_mut();
        let done = act(&mut redis, now);
        let is_deaf = redis.is_deaf();
        redis.past.iter_mut().for_each(|past| past.be_silent(is_deaf, now));
        let news = redis.take_news();
        let (is_busy, next_wait) = (redis.take_busy(), redis.next_wait());
        drop(redis);
        let links = self.links.borrow();
        links.iter().filter(|link| news.contains(&link.id)).for_each(|link| link.news.notify_one());
        if is_busy {
            self.spawn(Rc::clone(self).resume_later());
        }
        if let Some(wait) = next_wait.filter(|wait| self.wakes_at.get().is_none_or(|at| *wait < at)) {
            self.wakes_at.set(Some(wait));
            self.spawn(Rc::clone(self).end_waits(Duration::from_millis((wait - now).max(0) as u64)));
        }
        done
    }

    async fn resume_later(self: Rc<Self>) {
        sleep(self.slowness.get()).await;
        self.with_redis(|redis, now| redis.resume(now));
    }

    async fn end_waits(self: Rc<Self>, length: Duration) {
        sleep(length).await;
        self.wakes_at.set(None);
        self.with_redis(|redis, now| redis.end_waits(now));
    }

    pub(crate) fn deliver(self: &Rc<Self>, id: Id, bytes: &[u8]) {
        self.with_redis(|redis, now| redis.receive(id, bytes, now));
    }

    pub(crate) fn disconnect(self: &Rc<Self>, id: Id) {
        self.with_redis(|redis, _| redis.disconnect(id));
    }

    pub(crate) fn take(self: &Rc<Self>, id: Id) -> (Vec<u8>, bool) {
        self.with_redis(|redis, _| redis.take(id))
    }

    fn clock(&self) -> Millis {
        EPOCH + self.began.elapsed().as_millis() as Millis
    }

    pub(crate) async fn delay(&self) {
        link::delay(self.weather.get().delay, &self.random).await;
    }

    /// How many of so many bytes go together.
    pub(crate) fn piece(&self, len: usize) -> usize {
        len.min(self.weather.get().piece)
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().push(spawn_local(task));
    }

    /// Tasks that ended in a panic.
    pub(crate) async fn panics(&self) -> usize {
        let (ended, going): (Vec<_>, Vec<_>) = self.tasks.take().into_iter().partition(JoinHandle::is_finished);
        self.tasks.replace(going);
        let mut panics = 0;
        for task in ended {
            panics += usize::from(task.await.is_err());
        }
        panics
    }

    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        if let Some(notes) = &self.notes {
            notes.borrow_mut().push(format!("{:?}: {}", self.began.elapsed(), what()));
        }
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.as_ref().map(RefCell::take).unwrap_or_default()
    }
}

//! How one task of a worker wakes another.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

/// The task that waits, woken once until it has run: however many wake it in one turn, it costs one wake-up.
#[derive(Debug, Default)]
pub struct Wakeup {
    task: RefCell<Option<Waker>>,
    /// The task is woken and has not run since.
    is_woken: Cell<bool>,
}

impl Wakeup {
    /// Remembers the task, which runs now; tells whether it had been woken.
    pub fn register(&self, context: &Context<'_>) -> bool {
        let was_woken = self.is_woken.replace(false);
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *task = Some(context.waker().clone());
        }
        was_woken
    }

    /// Wakes the task, once until it has run.
    pub fn wake(&self) {
        if !self.is_woken.replace(true)
            && let Some(waker) = self.task.borrow().as_ref()
        {
            waker.wake_by_ref();
        }
    }
}

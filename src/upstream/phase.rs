//! Where a multiplexed connection is in its life.
//!
//! ```text
//!            ┌─────────────── Lost ──────────────────┬────────────────┐
//!            ▼                                       │                │
//!        ┌──────┐  Connected  ┌──────────┐ Drained ┌────┐ Succeeded ┌─────────┐
//!  ─────▶│ Away │────────────▶│ Settling │────────▶│ Up │──────────▶│ Leaving │
//!        └──────┘             └──────────┘         └────┘  Refused  └─────────┘
//!            ▲                                       ▲                │
//!            └── Drained, without a successor ───────┴─── with one ───┘
//! ```

/// What may be sent, and what is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is no connection: everything waits for one. → `Settling`.
    Away,
    /// What became of lost writes is found out before anything else is sent. → `Up` when it is known; → `Leaving`;
    /// → `Away` when the connection is lost.
    Settling,
    /// Requests are sent as they come. → `Leaving` when there is a successor, or the server executes nothing; → `Away`
    /// when the connection is lost.
    Up,
    /// What was sent is waited for, the rest for the next connection. → `Up` on the successor, or `Away`, when all that
    /// is answered; back to `Up` when that takes long and there is a successor; → `Away` when the connection is lost.
    Leaving {
        /// Another connection is ready.
        has_successor: bool,
    },
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A connection is ready, and all that was lost before is severed.
    Connected,
    /// Whatever was let go has been answered.
    Drained,
    /// Another connection is ready to take over.
    Succeeded,
    /// It cannot take over yet: too much waits for that.
    Postponed,
    /// The server executes nothing for now: it loads its data, or is no primary any more.
    Refused,
    /// The connection is lost.
    Lost,
}

impl Phase {
    /// The phase that follows.
    pub(super) fn on(self, event: Event) -> Self {
        match (self, event) {
            (_, Event::Lost) => Self::Away,
            (Self::Away, Event::Connected) => Self::Settling,
            (Self::Settling, Event::Drained) => Self::Up,
            (Self::Up, Event::Succeeded) => Self::Leaving { has_successor: true },
            (Self::Settling | Self::Up, Event::Refused) => Self::Leaving { has_successor: false },
            (Self::Leaving { has_successor: true }, Event::Drained | Event::Postponed) => Self::Up,
            (Self::Leaving { has_successor: false }, Event::Drained) => Self::Away,
            // The successor finds out by itself whether the server executes anything.
            (Self::Leaving { .. }, Event::Refused) => self,
            (Self::Away, Event::Drained | Event::Succeeded | Event::Postponed | Event::Refused)
            | (Self::Settling, Event::Connected | Event::Succeeded | Event::Postponed)
            | (Self::Up, Event::Connected | Event::Drained | Event::Postponed)
            | (Self::Leaving { .. }, Event::Connected | Event::Succeeded | Event::Postponed) => {
                unreachable!("{event:?} cannot happen in {self:?}")
            }
        }
    }

    /// Whether there is a connection.
    pub(super) fn is_connected(self) -> bool {
        self != Self::Away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_beside_a_look_or_a_farewell() {
        let leaving = |has_successor| Phase::Leaving { has_successor };
        let moves = [
            (Phase::Away, Event::Connected, Phase::Settling),
            (Phase::Away, Event::Lost, Phase::Away),
            (Phase::Settling, Event::Drained, Phase::Up),
            (Phase::Settling, Event::Refused, leaving(false)),
            (Phase::Settling, Event::Lost, Phase::Away),
            (Phase::Up, Event::Succeeded, leaving(true)),
            (Phase::Up, Event::Refused, leaving(false)),
            (Phase::Up, Event::Lost, Phase::Away),
            (leaving(true), Event::Drained, Phase::Up),
            (leaving(true), Event::Postponed, Phase::Up),
            (leaving(false), Event::Drained, Phase::Away),
            (leaving(true), Event::Refused, leaving(true)),
            // A successor that was made before the loss has not severed what was lost.
            (leaving(true), Event::Lost, Phase::Away),
        ];
        for (phase, event, next) in moves {
            assert_eq!(phase.on(event), next, "{phase:?} {event:?}");
        }
    }
}

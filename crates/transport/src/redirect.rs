//! Who decides where a login goes, when it is not the model: asked by a reactor, answered from another thread, never waited for.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::hub::{Hub, LinkKey, Message};

/// Where the logins to a target go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Redirection {
    /// There, unless the initiator is there itself, or the connection came in there.
    Place(Place),
    /// A program says where, for each login.
    Ask {
        /// Its path.
        program: String,
    },
}

/// The place of a moved target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// IPv4 address, IPv6 address with or without brackets, or host name.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The initiator may forget the old address (0102 instead of 0101).
    pub permanent: bool,
}

/// A login that waits to hear where its target is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Program to ask.
    pub program: String,
    /// TargetName.
    pub target: String,
    /// InitiatorName, as the initiator says it.
    pub initiator: String,
    /// The initiator's address.
    pub peer: SocketAddr,
    /// The portal it came to.
    pub local: SocketAddr,
}

/// What was found out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The target is there.
    Place(Place),
    /// Nobody can say now, try again (0301). With a line for the log.
    Later(String),
    /// The answer makes no sense (0300). With a line for the log.
    Failed(String),
}

/// Finds out where targets are.
pub trait Redirector: Send + Sync {
    /// Begins to find out; called on a reactor, so it must return at once.
    fn ask(&self, question: Question, ticket: Ticket);
}

/// The way back to the login that waits. One that is dropped answers [`Verdict::Failed`].
pub struct Ticket {
    to: Option<Box<dyn FnOnce(Verdict) + Send>>,
}

impl Ticket {
    /// Hands the verdict to `to`: for tests of redirectors, and for everyone who asks one without a login.
    pub fn to_closure(to: impl FnOnce(Verdict) + Send + 'static) -> Ticket {
        Ticket { to: Some(Box::new(to)) }
    }

    pub(crate) fn to_login(hub: Arc<Hub>, reactor: usize, link: LinkKey) -> Ticket {
        // At most one message for each question, of which there is one for each connection.
        Ticket::to_closure(move |verdict| hub.force(reactor, Message::Found { link, verdict }))
    }

    /// Tells the login, from any thread. One that has gone meanwhile hears nothing.
    pub fn answer(mut self, verdict: Verdict) {
        self.send(verdict);
    }

    fn send(&mut self, verdict: Verdict) {
        if let Some(to) = self.to.take() {
            to(verdict);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.send(Verdict::Failed("the question was dropped".into()));
    }
}

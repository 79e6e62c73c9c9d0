//! One connection: a request of tgtadm's and its answer, or any number of lines.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use admin::code::Code;
use admin::json::{self, Id};
use admin::reply::{Answer, Reply};
use admin::request::{Envelope, Request};
use admin::{reading, wire};

use super::lines::{Lines, Next};
use super::{Desk, PATIENCE, Role, watch};

/// What the threads of one connection share.
struct Client {
    desk: Arc<Desk>,
    role: Role,
    /// The sending side: whole lines only.
    stream: Mutex<UnixStream>,
    /// Requests that are carried out aside.
    aside: Arc<AtomicUsize>,
    watching: AtomicBool,
    closed: AtomicBool,
}

/// Serves a connection to its end.
pub fn serve(stream: UnixStream, role: Role, desk: &Arc<Desk>) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let client = Arc::new(Client {
        desk: desk.clone(),
        role,
        stream: Mutex::new(stream.try_clone()?),
        aside: Arc::default(),
        watching: AtomicBool::new(false),
        closed: AtomicBool::new(false),
    });
    let result = converse(&client, &stream);
    client.closed.store(true, Ordering::Release);
    client.desk.bell.ring();
    // Answers that are still to come have a place to go: only a broken connection is cut. The descriptors close with the last thread.
    let _ = if result.is_err() { stream.shutdown(Shutdown::Both) } else { Ok(()) };
    result
}

fn converse(client: &Arc<Client>, stream: &UnixStream) -> io::Result<()> {
    let mut lines = Lines::new(stream, &client.desk.places);
    let mut idle = None;
    loop {
        let next = lines.next(|| client.is_busy())?;
        drop(idle.take());
        match next {
            Next::End => return Ok(()),
            Next::TooLong => {
                return client.answer(None, &Err(Code::InvalidRequest.because("this request, or all that are being sent, are too long")));
            }
            Next::Binary(bytes) => {
                if let Some(answer) = client.binary(&bytes) {
                    client.send(&answer)?;
                }
                return finish(stream);
            }
            Next::Line(line) => {
                client.line(&line)?;
                drop(line);
                lines.release();
            }
        }
        lines.wait_for_next();
        if !client.is_busy() && lines.is_empty() {
            idle = client.desk.places.idle();
            if idle.is_none() {
                return finish(stream);
            }
        }
        client.desk.control.end_if_asked();
    }
}

impl Client {
    /// It need not send anything for now.
    fn is_busy(&self) -> bool {
        self.watching.load(Ordering::Acquire) || self.aside.load(Ordering::Acquire) > 0
    }

    /// The answer to a binary request; `None`: close without one.
    fn binary(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let frame = wire::Frame::decode(bytes).ok()?;
        let reply: Reply = reading::request(&frame).and_then(|envelope| self.desk.apply(self.role, &envelope));
        Some(wire::answer_to(&frame, &reply))
    }

    /// A request without `id` is carried out before the next is read; one with an `id` beside it.
    fn line(self: &Arc<Client>, line: &[u8]) -> io::Result<()> {
        let (id, envelope) = json::read_numbered(line);
        let envelope = match envelope {
            Ok(envelope) => envelope,
            Err(failure) => return self.answer(id.as_ref(), &Err(failure)),
        };
        if envelope.request == Request::Watch {
            return self.watch(id, &envelope);
        }
        let places = id.as_ref().and_then(|_| self.desk.places.aside(&self.aside));
        let Some(places) = places else {
            let reply = self.desk.apply(self.role, &envelope);
            return self.answer(id.as_ref(), &reply);
        };
        let client = self.clone();
        self.desk.crew.run(Box::new(move || {
            let _places = places;
            let reply = client.desk.apply(client.role, &envelope);
            if client.answer(id.as_ref(), &reply).is_err() {
                client.cut();
            }
            client.desk.control.end_if_asked();
        }))
    }

    fn watch(self: &Arc<Client>, id: Option<Id>, envelope: &Envelope) -> io::Result<()> {
        if self.watching.load(Ordering::Acquire) {
            return self.answer(id.as_ref(), &Err(Code::InvalidRequest.because("this connection watches already")));
        }
        let Some(place) = self.desk.places.watch() else {
            return self.answer(id.as_ref(), &Err(Code::NoMemory.because("too many watch already")));
        };
        let reply = self.desk.apply(self.role, envelope);
        self.answer(id.as_ref(), &reply)?;
        let Ok(Answer::Edition(told)) = reply else { return Ok(()) };
        self.watching.store(true, Ordering::Release);
        let client = self.clone();
        self.desk.crew.run(Box::new(move || {
            let _place = place;
            let edition = || client.desk.control.edition();
            if watch::run(&client.desk.bell, &client.stream, id.as_ref(), told, edition, &client.closed).is_err() {
                client.cut();
            }
        }))
    }

    fn answer(&self, id: Option<&Id>, reply: &Reply) -> io::Result<()> {
        self.send(&json::write_numbered_reply(id, reply))
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)
    }

    /// The peer does not take its answers.
    fn cut(&self) {
        let _ = self.stream.lock().unwrap_or_else(PoisonError::into_inner).shutdown(Shutdown::Both);
    }
}

fn finish(stream: &UnixStream) -> io::Result<()> {
    match stream.shutdown(Shutdown::Write) {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
        _ => Ok(()),
    }
}

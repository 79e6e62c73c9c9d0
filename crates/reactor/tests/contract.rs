//! The contract of every driver: the same tests over io_uring and epoll.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::time::{Duration, Instant};

use reactor::{Back, Batch, Done, Driver, Epoll, Handle, Op, Pool, Shared, Token, Uring, mailbox};

/// Nothing here takes longer, even on a loaded machine.
const PATIENCE: u64 = 20_000_000_000;

/// A driver, its pool, and what has ended and was not looked at yet.
struct Bench<D> {
    driver: D,
    pool: Pool,
    done: VecDeque<Done>,
}

impl<D: Driver> Bench<D> {
    fn new(driver: D) -> Bench<D> {
        Bench { driver, pool: Pool::new(256 << 20), done: VecDeque::new() }
    }

    fn next(&mut self) -> Done {
        let limit = self.driver.now() + PATIENCE;
        let mut done = Vec::new();
        while self.done.is_empty() {
            assert!(self.driver.now() < limit, "nothing ends");
            self.driver.wait(&mut done, Some(limit));
            self.done.extend(done.drain(..));
        }
        self.done.pop_front().unwrap()
    }

    /// The end of this token; others wait.
    fn end_of(&mut self, token: Token) -> Done {
        let mut others = VecDeque::new();
        loop {
            let done = self.next();
            if done.token == token {
                others.append(&mut self.done);
                self.done = others;
                return done;
            }
            others.push_back(done);
        }
    }

    fn nothing_for(&mut self, time: Duration) {
        let until = self.driver.now() + u64::try_from(time.as_nanos()).unwrap();
        let mut done = Vec::new();
        while self.driver.now() < until {
            self.driver.wait(&mut done, Some(until));
        }
        assert!(done.is_empty() && self.done.is_empty(), "{done:?} {:?}", self.done);
    }

    fn listen(&mut self) -> (Handle, SocketAddr) {
        self.driver.listen("127.0.0.1:0".parse().unwrap()).unwrap()
    }

    /// A connection: our handle and the peer's socket.
    fn connect(&mut self) -> (Handle, TcpStream) {
        let (listener, address) = self.listen();
        self.driver.submit(1, Op::Accept { listener });
        let peer = TcpStream::connect(address).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (socket, from) = accepted(self.end_of(1));
        assert_eq!(from, peer.local_addr().unwrap());
        (socket, peer)
    }

    fn recv(&mut self, token: Token, socket: Handle, len: usize) {
        let buffer = self.pool.take(len).unwrap();
        self.driver.submit(token, Op::Recv { socket, buffer, from: 0 });
    }

    fn shared(&mut self, bytes: &[u8]) -> Shared {
        let mut buffer = self.pool.take(bytes.len()).unwrap();
        buffer.copy_from_slice(bytes);
        buffer.freeze()
    }

    fn send(&mut self, token: Token, socket: Handle, bytes: &[u8]) {
        let mut batch = Batch::new();
        batch.push_bytes(bytes);
        self.driver.submit(token, Op::Send { socket, batch });
    }
}

fn accepted(done: Done) -> (Handle, SocketAddr) {
    match done {
        Done { result: Ok(_), back: Back::Accepted { socket, peer }, .. } => (socket, peer),
        other => panic!("{other:?}"),
    }
}

fn bytes_of(done: &Done) -> &[u8] {
    match (&done.result, &done.back) {
        (Ok(len), Back::Buffer(buffer)) => &buffer[..*len],
        _ => panic!("{done:?}"),
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0]).collect()
}

/// A file without a name.
fn file(content: &[u8]) -> std::fs::File {
    let path = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = path.join(format!("reactor-{}-{:?}", std::process::id(), std::thread::current().id()));
    let mut file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file.write_all(content).unwrap();
    file
}

fn accepts_many_and_stays_armed<D: Driver>(driver: D) {
    let mut bench = Bench::new(driver);
    let (listener, address) = bench.listen();
    bench.driver.submit(7, Op::Accept { listener });
    let mut peers = Vec::new();
    for round in 1..=3 {
        for _ in 0..40 {
            peers.push(TcpStream::connect(address).unwrap());
        }
        for _ in 0..40 {
            let (socket, from) = accepted(bench.end_of(7));
            assert_eq!(bench.driver.peer(socket).unwrap(), (address, from));
            assert!(peers.iter().any(|peer| peer.local_addr().unwrap() == from));
        }
        assert_eq!(bench.driver.counters().accepts, 40 * round);
    }
    bench.driver.submit(8, Op::Close { handle: listener, reset: false });
    assert_eq!(bench.end_of(7).result, Err(libc::ECANCELED));
    assert_eq!(bench.end_of(8).result, Ok(0));
    assert!(TcpStream::connect(address).is_err());
    let start = Instant::now();
    let (_, again) = bench.driver.listen(address).unwrap();
    assert_eq!(again, address);
    assert!(start.elapsed() < Duration::from_millis(500), "the port is free when the close is done");
}

fn receives_whatever_the_split<D: Driver>(driver: D) {
    let mut bench = Bench::new(driver);
    let (socket, mut peer) = bench.connect();
    let all = pattern(100_000);
    let sent = all.clone();
    let writer = std::thread::spawn(move || {
        let mut at = 0;
        let mut step = 1;
        while at < sent.len() {
            let end = (at + step).min(sent.len());
            peer.write_all(&sent[at..end]).unwrap();
            at = end;
            step = step * 7 % 4099 + 1;
            if step % 5 == 0 {
                std::thread::yield_now();
            }
        }
    });
    let mut received = Vec::new();
    let mut from = 0;
    loop {
        let mut buffer = bench.pool.take(5000).unwrap();
        buffer[..from].fill(0x77);
        bench.driver.submit(2, Op::Recv { socket, buffer, from });
        let done = bench.end_of(2);
        let Back::Buffer(buffer) = &done.back else { panic!("{done:?}") };
        let count = done.result.unwrap();
        assert!(buffer[..from].iter().all(|byte| *byte == 0x77));
        if count == 0 {
            break;
        }
        received.extend_from_slice(&buffer[from..from + count]);
        from = (from + 48) % 4096;
    }
    writer.join().unwrap();
    assert!(received == all);
    assert_eq!(bench.driver.counters().bytes_in, 100_000);
    // The end stays the end.
    bench.recv(3, socket, 10);
    assert_eq!(bench.end_of(3).result, Ok(0));
}

fn one_receive_and_one_send_at_a_time<D: Driver>(driver: D) {
    let mut bench = Bench::new(driver);
    let (socket, mut peer) = bench.connect();
    bench.recv(2, socket, 100);
    bench.recv(3, socket, 100);
    let refused = bench.end_of(3);
    assert_eq!(refused.result, Err(libc::EBUSY));
    assert!(matches!(refused.back, Back::Buffer(_)));
    peer.write_all(b"x").unwrap();
    assert_eq!(bytes_of(&bench.end_of(2)), b"x");
    let buffer = bench.pool.take(10).unwrap();
    bench.driver.submit(4, Op::Recv { socket, buffer, from: 10 });
    assert_eq!(bench.end_of(4).result, Err(libc::EINVAL));
    let huge = bench.shared(&pattern(16 << 20));
    for token in [5, 6] {
        let mut batch = Batch::new();
        batch.push_shared(huge.clone(), 0, huge.len());
        bench.driver.submit(token, Op::Send { socket, batch });
    }
    let refused = bench.end_of(6);
    assert_eq!(refused.result, Err(libc::EBUSY));
    assert!(matches!(refused.back, Back::Batch(_)));
}

fn one_send_is_one_call_when_it_fits<D: Driver>(driver: D) {
    let mut bench = Bench::new(driver);
    let (socket, mut peer) = bench.connect();
    let data = bench.shared(&pattern(512));
    let mut batch = Batch::new();
    let mut wanted = Vec::new();
    for reply in 0..32u8 {
        batch.push_bytes(&[reply; 48]);
        batch.push_shared(data.clone(), 0, 512);
        wanted.extend_from_slice(&[reply; 48]);
        wanted.extend_from_slice(&data);
    }
    bench.driver.submit(2, Op::Send { socket, batch });
    let done = bench.end_of(2);
    assert_eq!(done.result, Ok(wanted.len()));
    let Back::Batch(mut batch) = done.back else { panic!() };
    batch.clear();
    assert!(data.thaw().is_ok(), "a cleared batch holds no buffer");
    let counters = bench.driver.counters();
    assert_eq!((counters.sends, counters.batches, counters.pieces), (1, 1, 64));
    assert_eq!(counters.bytes_out, wanted.len() as u64);
    let mut received = vec![0; wanted.len()];
    peer.read_exact(&mut received).unwrap();
    assert!(received == wanted);
    bench.driver.submit(3, Op::Send { socket, batch });
    assert_eq!(bench.end_of(3).result, Ok(0));
}

fn sends_more_than_the_socket_takes<D: Driver>(driver: D) {
    let mut bench = Bench::new(driver);
    let (socket, mut peer) = bench.connect();
    let data = bench.shared(&pattern(32 << 10));
    let mut batch = Batch::new();
    let mut wanted = Vec::new();
    for index in 0..700u32 {
        let at = usize::try_from(index).unwrap() % 5000;
        batch.push_bytes(&index.to_be_bytes());
        batch.push_shared(data.clone(), at, data.len() - at);
        wanted.extend_from_slice(&index.to_be_bytes());
        wanted.extend_from_slice(&data[at..]);
    }
    bench.driver.submit(2, Op::Send { socket, batch });
    // Receiving goes on meanwhile.
    bench.recv(3, socket, 100);
    peer.write_all(b"still here").unwrap();
    assert_eq!(bytes_of(&bench.end_of(3)), b"still here");
    let reader = std::thread::spawn(move || {
        let mut received = vec![0; wanted.len()];
        std::thread::sleep(Duration::from_millis(20));
        peer.read_exact(&mut received).unwrap();
        assert!(received == wanted);
        wanted.len()
    });
    let done = bench.end_of(2);
    assert_eq!(done.result, Ok(reader.join().unwrap()));
    assert!(bench.driver.counters().sends >= 6, "1400 pieces are more than five calls take");
}

fn closing_cancels_first<D: Driver>(driver: D) {
    let mut bench = Bench::new(driver);
    let huge = bench.shared(&pattern(16 << 20));
    for reset in [false, true] {
        let (socket, mut peer) = bench.connect();
        bench.recv(20, socket, 100);
        let mut batch = Batch::new();
        batch.push_shared(huge.clone(), 0, huge.len());
        bench.driver.submit(21, Op::Send { socket, batch });
        bench.nothing_for(Duration::from_millis(10));
        bench.driver.submit(22, Op::Close { handle: socket, reset });
        let mut ends = [bench.next(), bench.next(), bench.next()];
        ends[..2].sort_by_key(|done| done.token);
        assert!(matches!(ends[0], Done { token: 20, result: Err(libc::ECANCELED), back: Back::Buffer(_) }), "{ends:?}");
        assert!(matches!(ends[1], Done { token: 21, result: Err(libc::ECANCELED), back: Back::Batch(_) }), "{ends:?}");
        assert!(matches!(ends[2], Done { token: 22, result: Ok(0), back: Back::None }), "{ends:?}");
        let mut received = Vec::new();
        let end = peer.read_to_end(&mut received);
        assert_eq!(end.is_err(), reset, "RST when asked, FIN otherwise");
        assert!(received[..] == huge[..received.len()]);
    }
}

fn file_operations<D: Driver>(driver: D) {
    let mut bench = Bench::new(driver);
    let file = file(&pattern(10_000));
    let fd = file.as_raw_fd();
    let source = bench.shared(&[0x5a; 3000]);
    bench.driver.submit(1, Op::Write { file: fd, offset: 9000, source, at: 500, len: 2000, sync: true });
    let done = bench.end_of(1);
    assert_eq!(done.result, Ok(2000));
    assert!(matches!(done.back, Back::Shared(_)));
    bench.driver.submit(2, Op::Sync { file: fd });
    assert_eq!(bench.end_of(2).result, Ok(0));
    let mut wanted = pattern(10_000);
    wanted.truncate(9000);
    wanted.extend_from_slice(&[0x5a; 2000]);
    wanted.extend_from_slice(&[0; 1000]);
    let mut buffer = bench.pool.take(12_048).unwrap();
    buffer.fill(0xee);
    bench.driver.submit(3, Op::Read { file: fd, offset: 0, buffer, at: 48, len: 12_000 });
    let done = bench.end_of(3);
    assert_eq!(done.result, Ok(12_000));
    let Back::Buffer(buffer) = done.back else { panic!() };
    assert!(buffer[..48].iter().all(|byte| *byte == 0xee) && buffer[48..] == wanted[..]);
    bench.driver.submit(4, Op::Zero { file: fd, offset: 10, len: 5000, block_device: false, sync: true });
    assert_eq!(bench.end_of(4).result, Ok(0));
    bench.driver.submit(5, Op::Discard { file: fd, offset: 8192, len: 100, block_device: false });
    assert_eq!(bench.end_of(5).result, Ok(0));
    wanted[10..5010].fill(0);
    wanted[8192..8292].fill(0);
    bench.driver.submit(6, Op::Read { file: fd, offset: 0, buffer, at: 0, len: 12_000 });
    let done = bench.end_of(6);
    assert!(bytes_of(&done) == &wanted[..]);
    assert_eq!(bench.driver.counters().file_ops, 6);
}

fn file_errors_are_numbers<D: Driver>(driver: D) {
    let mut bench = Bench::new(driver);
    let (pipe, _writer) = std::io::pipe().unwrap();
    let read_only = std::fs::File::open("/proc/self/exe").unwrap();
    let buffer = bench.pool.take(100).unwrap();
    bench.driver.submit(1, Op::Read { file: read_only.as_raw_fd(), offset: 0, buffer, at: 60, len: 41 });
    assert_eq!(bench.end_of(1).result, Err(libc::EINVAL));
    let buffer = bench.pool.take(100).unwrap();
    bench.driver.submit(2, Op::Read { file: -1, offset: 0, buffer, at: 0, len: 100 });
    let done = bench.end_of(2);
    assert!(matches!((done.result, done.back), (Err(libc::EBADF), Back::Buffer(_))));
    let source = bench.shared(&[1; 10]);
    bench.driver.submit(3, Op::Write { file: read_only.as_raw_fd(), offset: 0, source: source.clone(), at: 0, len: 10, sync: false });
    assert_eq!(bench.end_of(3).result, Err(libc::EBADF));
    bench.driver.submit(4, Op::Write { file: read_only.as_raw_fd(), offset: 0, source, at: usize::MAX, len: 2, sync: false });
    assert_eq!(bench.end_of(4).result, Err(libc::EINVAL));
    bench.driver.submit(5, Op::Sync { file: pipe.as_raw_fd() });
    assert_eq!(bench.end_of(5).result, Err(libc::EINVAL));
    if let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") {
        let source = bench.shared(&[1; 10]);
        bench.driver.submit(6, Op::Write { file: full.as_raw_fd(), offset: 0, source, at: 0, len: 10, sync: false });
        assert_eq!(bench.end_of(6).result, Err(libc::ENOSPC));
    }
}

fn many_reads_at_once<D: Driver>(driver: D) {
    let mut bench = Bench::new(driver);
    let content = pattern(1 << 20);
    let file = file(&content);
    for token in 0..2000u64 {
        let buffer = bench.pool.take(4096).unwrap();
        bench.driver.submit(token, Op::Read { file: file.as_raw_fd(), offset: token * 500 % (1 << 20), buffer, at: 0, len: 512 });
    }
    let mut seen = vec![false; 2000];
    for _ in 0..2000 {
        let done = bench.next();
        let at = usize::try_from(done.token * 500 % (1 << 20)).unwrap();
        let mut wanted = content[at..(at + 512).min(1 << 20)].to_vec();
        wanted.resize(512, 0);
        assert!(bytes_of(&done) == wanted);
        assert!(!std::mem::replace(&mut seen[usize::try_from(done.token).unwrap()], true));
    }
    drop(bench.done);
    assert_eq!(bench.pool.used(), 0);
}

fn wakes_from_another_thread<D: Driver>(driver: D) {
    let mut bench = Bench::new(driver);
    let (sender, receiver) = mailbox::<u32>(100, bench.driver.waker());
    let thread = std::thread::spawn(move || {
        for letter in 0..50 {
            sender.send(letter).unwrap();
            if letter % 5 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    let limit = bench.driver.now() + PATIENCE;
    let mut letters = Vec::new();
    let mut done = Vec::new();
    while letters.len() < 50 {
        bench.driver.wait(&mut done, None);
        assert!(bench.driver.now() < limit);
        receiver.take_all(&mut letters);
    }
    thread.join().unwrap();
    assert_eq!(letters, (0..50).collect::<Vec<_>>());
    assert!(done.is_empty());
    // A ring before the wait is not lost.
    bench.driver.waker().wake();
    bench.driver.wait(&mut done, None);
    bench.nothing_for(Duration::from_millis(20));
}

fn waits_until_the_time<D: Driver>(driver: D) {
    let mut bench = Bench::new(driver);
    for milliseconds in [0, 1, 30] {
        let start = Instant::now();
        bench.nothing_for(Duration::from_millis(milliseconds));
        assert!(start.elapsed() >= Duration::from_millis(milliseconds));
        assert!(start.elapsed() < Duration::from_millis(milliseconds + 2000));
    }
    let before = bench.driver.counters().waits;
    bench.nothing_for(Duration::from_millis(50));
    assert!(bench.driver.counters().waits - before < 10, "it sleeps, it does not poll");
}

fn polls_a_descriptor_once<D: Driver>(driver: D) {
    let mut bench = Bench::new(driver);
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    bench.driver.submit(1, Op::Poll { fd: reader.as_raw_fd() });
    bench.nothing_for(Duration::from_millis(10));
    writer.write_all(b"x").unwrap();
    assert_eq!(bench.end_of(1).result, Ok(0));
    bench.nothing_for(Duration::from_millis(10));
    bench.driver.submit(2, Op::Poll { fd: reader.as_raw_fd() });
    assert_eq!(bench.end_of(2).result, Ok(0));
    reader.read_exact(&mut [0]).unwrap();
    bench.driver.submit(3, Op::Poll { fd: reader.as_raw_fd() });
    bench.driver.submit(4, Op::Close { handle: reader.into_raw_fd(), reset: false });
    assert_eq!(bench.next().result, Err(libc::ECANCELED));
    assert_eq!(bench.next().result, Ok(0));
    assert!(writer.write_all(b"y").is_err());
}

fn a_peer_that_is_gone_is_an_error<D: Driver>(driver: D) {
    let mut bench = Bench::new(driver);
    let (socket, peer) = bench.connect();
    let (other, _) = bench.connect();
    bench.recv(2, socket, 100);
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    assert_eq!(bench.end_of(2).result, Err(libc::ECONNRESET));
    bench.send(3, socket, b"hello?");
    assert_eq!(bench.end_of(3).result, Err(libc::EPIPE));
    bench.driver.submit(4, Op::Close { handle: socket, reset: false });
    assert_eq!(bench.end_of(4).result, Ok(0));
    bench.driver.submit(5, Op::Close { handle: -1, reset: false });
    assert_eq!(bench.end_of(5).result, Err(libc::EBADF));
    assert!(bench.driver.peer(other).is_ok() && bench.driver.peer(-1).is_err());
}

fn the_last_reply_arrives_before_the_end<D: Driver>(driver: D) {
    let mut bench = Bench::new(driver);
    let (socket, mut peer) = bench.connect();
    // Unread bytes at the time of the close must not turn it into a reset.
    peer.write_all(&pattern(10_000)).unwrap();
    bench.send(2, socket, &pattern(5000));
    assert_eq!(bench.end_of(2).result, Ok(5000));
    bench.driver.submit(3, Op::Close { handle: socket, reset: false });
    assert_eq!(bench.end_of(3).result, Ok(0));
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert!(received == pattern(5000));
}

fn the_end_of_a_driver_closes_and_frees<D: Driver>(driver: D) {
    let mut bench = Bench::new(driver);
    let (socket, mut peer) = bench.connect();
    bench.recv(2, socket, 4096);
    let huge = bench.shared(&pattern(16 << 20));
    let mut batch = Batch::new();
    batch.push_shared(huge, 0, 16 << 20);
    bench.driver.submit(3, Op::Send { socket, batch });
    let file = file(&pattern(100));
    for token in 10..40 {
        let buffer = bench.pool.take(4096).unwrap();
        bench.driver.submit(token, Op::Read { file: file.as_raw_fd(), offset: 0, buffer, at: 0, len: 4096 });
        bench.driver.submit(token, Op::Zero { file: file.as_raw_fd(), offset: 0, len: 10, block_device: false, sync: false });
    }
    let mut done = Vec::new();
    bench.driver.wait(&mut done, Some(0));
    let start = Instant::now();
    drop(bench.driver);
    assert!(start.elapsed() < Duration::from_secs(4));
    drop((done, bench.done));
    assert_eq!(bench.pool.used(), 0);
    let mut sink = Vec::new();
    let _ = peer.read_to_end(&mut sink);
    assert!(sink.len() < 16 << 20);
}

fn a_socket_moves_to_another_driver<D: Driver>(first: D, second: D) {
    let mut from = Bench::new(first);
    let mut to = Bench::new(second);
    let (socket, mut peer) = from.connect();
    from.recv(2, socket, 100);
    assert!(from.driver.detach(socket).is_none(), "an operation is under way");
    peer.write_all(b"login").unwrap();
    assert_eq!(bytes_of(&from.end_of(2)), b"login");
    peer.write_all(b"early").unwrap();
    let moved = from.driver.detach(socket).unwrap();
    assert!(from.driver.detach(socket).is_none());
    drop(from);
    let socket = to.driver.adopt(moved);
    to.recv(3, socket, 100);
    assert_eq!(bytes_of(&to.end_of(3)), b"early");
    to.send(4, socket, b"welcome");
    assert_eq!(to.end_of(4).result, Ok(7));
    let mut received = [0; 7];
    peer.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"welcome");
}

fn handles_are_reused_cleanly<D: Driver>(driver: D) {
    let mut bench = Bench::new(driver);
    let (listener, address) = bench.listen();
    bench.driver.submit(1, Op::Accept { listener });
    for round in 0..200u64 {
        let mut peer = TcpStream::connect(address).unwrap();
        let (socket, _) = accepted(bench.end_of(1));
        bench.recv(10 + round, socket, 64);
        if round % 3 != 0 {
            peer.write_all(b"ping").unwrap();
            assert_eq!(bytes_of(&bench.end_of(10 + round)), b"ping");
            bench.recv(10 + round, socket, 64);
        }
        bench.driver.submit(1000 + round, Op::Close { handle: socket, reset: round % 2 == 0 });
        assert_eq!(bench.end_of(10 + round).result, Err(libc::ECANCELED));
        assert_eq!(bench.end_of(1000 + round).result, Ok(0));
        let end = peer.read(&mut [0; 10]);
        assert!(if round % 2 == 0 { end.is_err() } else { end.is_ok_and(|count| count == 0) });
    }
    drop(bench.done);
    assert_eq!(bench.pool.used(), 0);
}

macro_rules! suite {
    ($name:ident, $new:expr) => {
        mod $name {
            use super::*;
            suite!(@tests $new;
                accepts_many_and_stays_armed receives_whatever_the_split one_receive_and_one_send_at_a_time one_send_is_one_call_when_it_fits
                sends_more_than_the_socket_takes closing_cancels_first file_operations file_errors_are_numbers many_reads_at_once
                wakes_from_another_thread waits_until_the_time polls_a_descriptor_once a_peer_that_is_gone_is_an_error
                the_last_reply_arrives_before_the_end the_end_of_a_driver_closes_and_frees handles_are_reused_cleanly
            );

            #[test]
            fn a_socket_moves_to_another_driver() {
                if let (Some(first), Some(second)) = ($new, $new) {
                    super::a_socket_moves_to_another_driver(first, second);
                }
            }
        }
    };
    (@tests $new:expr; $($test:ident)*) => {
        $(#[test] fn $test() { if let Some(driver) = $new { super::$test(driver); } })*
    };
}

suite!(uring, ring());
suite!(epoll, Some(Epoll::new().unwrap()));

/// The ring, or none where it is forbidden: then the epoll half is the test.
fn ring() -> Option<Uring> {
    Uring::new().inspect_err(|error| eprintln!("no io_uring here: {error}")).ok()
}

//! A process without free descriptors says so, keeps its listener, and goes on when there are some. Alone in its process: the limit is everybody's.

use std::net::TcpStream;
use std::os::fd::AsRawFd;

use reactor::{Back, Driver, IoChoice, Op, start};

fn set_limit(limit: u64) {
    let mut now = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    now.current = Some(limit);
    rustix::process::setrlimit(rustix::process::Resource::Nofile, now).unwrap();
}

#[test]
fn a_listener_outlives_a_lack_of_descriptors() {
    let usual = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap();
    for choice in [IoChoice::Auto, IoChoice::Epoll] {
        let mut driver = start(choice).unwrap().driver;
        let (listener, address) = driver.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let _peers: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        // The first free number becomes the limit.
        let probe = std::fs::File::open("/").unwrap();
        let first_free = u64::try_from(probe.as_raw_fd()).unwrap();
        drop(probe);
        set_limit(first_free);
        driver.submit(1, Op::Accept { listener });
        let mut done = Vec::new();
        let limit = driver.now() + 10_000_000_000;
        while done.is_empty() && driver.now() < limit {
            driver.wait(&mut done, Some(limit));
        }
        set_limit(usual);
        assert_eq!(done.len(), 1, "{}: {done:?}", driver.name());
        assert_eq!(done[0].result, Err(libc::EMFILE), "{}", driver.name());
        done.clear();
        while done.iter().filter(|done| matches!(done.back, Back::Accepted { .. })).count() < 3 {
            assert!(driver.now() < limit, "the listener rests for ever");
            driver.wait(&mut done, Some(limit));
        }
    }
}

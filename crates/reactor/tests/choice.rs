//! `--io auto` where io_uring is forbidden: a seccomp filter on one thread answers `io_uring_setup` as containers do.

use reactor::{AnyDriver, Driver, IoChoice, Op, start};

/// Forbids `io_uring_setup` for this thread, for ever.
fn forbid(error: i32) {
    let answer = libc::SECCOMP_RET_ERRNO | error.cast_unsigned();
    let number = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let load = u16::try_from(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS).unwrap();
    let equal = u16::try_from(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K).unwrap();
    let end = u16::try_from(libc::BPF_RET | libc::BPF_K).unwrap();
    // The number of the call stands at the start of seccomp_data.
    let mut filter = [
        libc::sock_filter { code: load, jt: 0, jf: 0, k: 0 },
        libc::sock_filter { code: equal, jt: 0, jf: 1, k: number },
        libc::sock_filter { code: end, jt: 0, jf: 0, k: answer },
        libc::sock_filter { code: end, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: both calls take integers, and the second a pointer to a filter program that lives until it returns; they change this thread only.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

#[test]
fn auto_falls_back_with_one_line_that_says_why() {
    for (error, reason) in [(libc::EPERM, "forbids it"), (libc::ENOSYS, "does not have it")] {
        std::thread::spawn(move || {
            forbid(error);
            let started = start(IoChoice::Auto).unwrap();
            assert!(matches!(started.driver, AnyDriver::Epoll(_)));
            let line = started.fallback.unwrap();
            assert!(line.contains(reason) && line.contains("using epoll") && !line.contains('\n'), "{line}");
            let error = start(IoChoice::Uring).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("use --io epoll"), "{error}");
        })
        .join()
        .unwrap();
    }
}

#[test]
fn epoll_when_asked_gives_no_reason() {
    let started = start(IoChoice::Epoll).unwrap();
    assert_eq!(started.driver.name(), "epoll");
    assert_eq!(started.fallback, None);
}

#[test]
fn auto_starts_something_that_works() {
    let mut started = start(IoChoice::Auto).unwrap();
    assert_eq!(started.fallback.is_some(), matches!(started.driver, AnyDriver::Epoll(_)));
    started.driver.waker().wake();
    started.driver.wait(&mut Vec::new(), None);
    println!("{}", started.driver.name());
}

/// With this in its environment the test binary is a daemon: it listens with a ring, says where, and waits to be killed.
const DAEMON: &str = "REACTOR_TEST_DAEMON";

#[test]
fn a_daemon() {
    if std::env::var_os(DAEMON).is_none() {
        return;
    }
    let mut driver = start(IoChoice::Auto).unwrap().driver;
    let (listener, address) = driver.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    driver.submit(1, Op::Accept { listener });
    println!("\nlistening {address}");
    loop {
        driver.wait(&mut Vec::new(), None);
    }
}

#[test]
fn a_killed_daemon_can_be_started_again_at_once() {
    for _ in 0..5 {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_daemon", "--nocapture"]).env(DAEMON, "1").stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        let address = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("listening ").map(str::to_owned)).unwrap();
        let busy = reactor::net::listen(address.parse().unwrap()).unwrap_err().to_string();
        assert!(busy.contains(&format!("pid {}", child.id())), "{busy}");
        child.kill().unwrap();
        child.wait().unwrap();
        reactor::net::listen(address.parse().unwrap()).unwrap();
    }
}

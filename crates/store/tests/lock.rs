//! One image, one daemon: a second process is told who has it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use store::{File, OpenErrorKind, OpenOptions};

/// With this in its environment the test binary is the other daemon: it opens the image and waits for the end of its input.
const HOLD: &str = "STORE_TEST_HOLD";
const READ_ONLY: &str = "STORE_TEST_READ_ONLY";

#[test]
fn the_other_daemon() {
    let Ok(path) = std::env::var(HOLD) else { return };
    let read_only = std::env::var_os(READ_ONLY).is_some();
    let _file = File::open(Path::new(&path), OpenOptions { read_only, ..OpenOptions::default() }).unwrap();
    println!("held");
    let _ = std::io::stdin().read_line(&mut String::new());
}

struct Other(Child);

impl Other {
    fn start(path: &Path, read_only: bool) -> Other {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "the_other_daemon", "--nocapture"]).env(HOLD, path).stdin(Stdio::piped()).stdout(Stdio::piped());
        if read_only {
            command.env(READ_ONLY, "1");
        }
        let mut child = command.spawn().unwrap();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("held") {
            line.clear();
            assert_ne!(std::io::BufRead::read_line(&mut output, &mut line).unwrap(), 0, "the other daemon did not start");
        }
        // Keeps the pipe open: the child prints its result at the end.
        std::mem::forget(output);
        Other(child)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Image(PathBuf);

impl Image {
    fn new(name: &str) -> Image {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("store-lock-{}-{name}", std::process::id()));
        std::fs::write(&path, vec![7u8; 8192]).unwrap();
        Image(path)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn open(image: &Image, read_only: bool) -> Result<File, store::OpenError> {
    File::open(&image.0, OpenOptions { read_only, ..OpenOptions::default() })
}

#[test]
fn a_second_daemon_is_told_who_has_the_image() {
    let image = Image::new("two");
    let other = Other::start(&image.0, false);
    for options in
        [OpenOptions::default(), OpenOptions { read_only: true, ..OpenOptions::default() }, OpenOptions { ephemeral: true, ..OpenOptions::default() }]
    {
        let error = File::open(&image.0, options).unwrap_err();
        assert_eq!(error.kind, OpenErrorKind::Busy);
        let text = error.to_string();
        assert!(text.contains(&format!("in use by pid {} (", other.0.id())), "{text}");
        assert!(text.contains("the_other_daemon") && !text.contains('\n'), "{text}");
    }
    drop(other);
    assert!(!open(&image, false).unwrap().shared_in_process());
    assert_eq!(std::fs::read(&image.0).unwrap(), vec![7u8; 8192]);
}

#[test]
fn readers_share_and_keep_writers_out() {
    let image = Image::new("readers");
    let _other = Other::start(&image.0, true);
    let reader = open(&image, true).unwrap();
    assert!(!reader.shared_in_process());
    drop(reader);
    assert_eq!(open(&image, false).unwrap_err().kind, OpenErrorKind::Busy);
}

#[test]
fn two_units_of_one_daemon_may_have_the_same_image() {
    let image = Image::new("units");
    let first = open(&image, false).unwrap();
    assert!(!first.shared_in_process());
    let second = open(&image, false).unwrap();
    assert!(second.shared_in_process());
    drop(first);
    // The share keeps the lock: our own new description of the file is refused while it lives.
    let third = std::fs::OpenOptions::new().read(true).write(true).open(&image.0).unwrap();
    assert!(refused(&third));
    drop(second);
    assert!(!refused(&third));
}

fn refused(file: &std::fs::File) -> bool {
    use std::os::fd::AsRawFd;
    // SAFETY: flock is plain integers; all zeros is valid.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(libc::F_WRLCK).unwrap();
    // SAFETY: the descriptor is open, the pointer is to a flock.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) != 0 }
}

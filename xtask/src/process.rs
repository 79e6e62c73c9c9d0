//! Other programs: run to the end with a time limit, or kept in the background and ended with the value that holds them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(20);
/// Lines of output that a failure shows.
const TAIL: usize = 40;

/// Runs `command` to its end, both outputs in one text. An error when it fails or takes longer than `limit`.
pub fn run(command: &mut Command, limit: Duration) -> Result<String> {
    let (status, output) = finish(command, limit)?;
    if status != Some(0) {
        bail!("{} ended with {}\n{}", words(command), status.map_or_else(|| "a signal".to_owned(), |code| code.to_string()), tail(&output));
    }
    Ok(output)
}

/// Runs `command` to its end: its exit status (`None`: a signal) and both outputs in one text.
pub fn finish(command: &mut Command, limit: Duration) -> Result<(Option<i32>, String)> {
    let log = Scratch::new("out")?;
    let file = File::create(log.path().join("log"))?;
    let mut child =
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn().with_context(|| format!("cannot start {}", words(command)))?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > limit {
            child.kill().ok();
            child.wait().ok();
            bail!("{} did not end within {} s\n{}", words(command), limit.as_secs(), tail(&read(&log.path().join("log"))));
        }
        std::thread::sleep(POLL);
    };
    Ok((status.code(), read(&log.path().join("log"))))
}

/// A file's text, whatever bytes it has.
pub fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        file.read_to_end(&mut bytes).ok();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last lines of a text.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

fn words(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// A program in the background; killed when the value goes.
pub struct Background {
    child: Child,
}

impl Background {
    /// Starts it, with its output in `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Background> {
        let file = File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", words(command)))?;
        Ok(Background { child })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// SIGTERM, and waits up to `limit` for the exit status.
    pub fn terminate(&mut self, limit: Duration) -> Result<Option<i32>> {
        run(Command::new("kill").arg("-TERM").arg(self.child.id().to_string()), Duration::from_secs(5))?;
        let started = Instant::now();
        while started.elapsed() < limit {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(POLL);
        }
        bail!("process {} did not end within {} s after SIGTERM", self.child.id(), limit.as_secs())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `ready` answers something, at most `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = ready() {
            return Ok(value);
        }
        if started.elapsed() > limit {
            bail!("{what} did not happen within {} s", limit.as_secs());
        }
        std::thread::sleep(POLL);
    }
}

/// A folder that goes with the value.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes one.
    pub fn new(name: &str) -> Result<Scratch> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("scuzzy-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Scratch { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.path).ok();
    }
}

//! `scuzzy serve`: disks over iSCSI until Ctrl-C.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use daemon::log::LogControl;
use daemon::{Daemon, DiskSettings, MediumSettings, Portal, Running, Settings, StartError, StateSettings, TargetSettings, configuration_file, log};
use rustix::process::{Pid, Signal};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::arguments::Serve;
use crate::{banner, client};

/// Size of the disk when none is asked for: enough for a file system, and sparse.
const DEFAULT_MEMORY: u64 = 1 << 30;

/// Runs the command.
pub fn run(options: Box<Serve>) -> Result<ExitCode> {
    if options.exit_with_parent {
        end_with_parent()?;
    }
    let log = log::install(options.log.parse().map_err(|error: String| anyhow!(error))?, &options.log_level);
    if let Some(path) = &options.ready_file {
        // One that an earlier run left would tell that we are ready. None there is as good.
        let _ = std::fs::remove_file(path);
    }
    raise_file_limit();
    let settings = settings(&options)?;
    let running = start(settings, options.control.as_deref(), &log)?;
    let endpoint = Endpoint::of(&running, &options);
    announce(&options, &endpoint)?;
    let code = match &options.run {
        Some(command) => run_command(running, command, &endpoint)?,
        None => serve_until_signal(running, options.config.clone())?,
    };
    Ok(code)
}

/// As many file descriptors as this user may have: each session takes one.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    // Refused or not, the daemon's own limit of connections is checked at each accept.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
}

/// Where the served disks are found.
pub struct Endpoint {
    /// `ADDRESS:PORT` of the first portal, as a client on this host reaches it.
    pub portal: String,
    /// All portals.
    pub portals: Vec<String>,
    /// Name of the target.
    pub target: String,
    /// One URL per disk.
    pub urls: Vec<String>,
    /// One line per disk: size and kind.
    pub disks: Vec<String>,
    /// Control socket.
    pub control: PathBuf,
    /// Seed of the fault decisions.
    pub seed: u64,
}

impl Endpoint {
    fn of(running: &Running, options: &Serve) -> Endpoint {
        let portals: Vec<String> = running.portals().iter().map(ToString::to_string).collect();
        let portal = running.portals().first().map(|address| reachable(*address).to_string()).unwrap_or_default();
        let disks: Vec<String> = disks(options).iter().map(banner::describe).collect();
        let urls = (1..=disks.len()).map(|lun| format!("iscsi://{portal}/{}/{lun}", options.name)).collect();
        let control = running.control_path().map(Path::to_path_buf).unwrap_or_default();
        let target = if disks.is_empty() { String::new() } else { options.name.clone() };
        Endpoint { portal, portals, target, urls, disks, control, seed: running.seed() }
    }

    fn json(&self) -> String {
        json!({
            "url": self.urls.first(),
            "urls": self.urls,
            "portal": self.portal,
            "portals": self.portals,
            "target": self.target,
            "control": self.control,
            "seed": self.seed,
            "pid": std::process::id(),
        })
        .to_string()
    }
}

/// An address that a client on this host can connect to.
fn reachable(mut address: std::net::SocketAddr) -> std::net::SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    address
}

fn disks(options: &Serve) -> Vec<DiskSettings> {
    let disk = |medium| DiskSettings { medium, block_size: options.block_size, read_only: options.read_only, protection: options.protection };
    let image = |path: &PathBuf| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        MediumSettings::File { path, direct: options.direct, sync: options.sync, ephemeral: options.ephemeral }
    };
    let mut disks: Vec<DiskSettings> = options.images.iter().map(|path| disk(image(path))).collect();
    disks.extend(options.memory.iter().map(|&bytes| disk(MediumSettings::Memory(bytes))));
    if disks.is_empty() && options.config.is_none() && options.state.is_none() {
        disks.push(disk(MediumSettings::Memory(DEFAULT_MEMORY)));
    }
    disks
}

fn settings(options: &Serve) -> Result<Settings> {
    let block = u64::from(options.block_size.bytes());
    if let Some(bytes) = options.memory.iter().find(|&&bytes| bytes < block) {
        bail!("--memory {bytes} is smaller than one block of {block} bytes: make it larger");
    }
    let disks = disks(options);
    let target = TargetSettings { name: options.name.clone(), allow: vec!["ALL".into()], account: account(options)?, disks };
    let document = options.config.as_deref().map(configuration_file::load).transpose().map_err(|error| anyhow!(error))?;
    if document.as_ref().is_some_and(|document| document.portals.is_some()) && !options.portal.is_empty() {
        bail!("the configuration says where to listen, and so does --portal: only one of the two can");
    }
    let folder = options.state.as_deref().map(std::path::absolute).transpose()?;
    Ok(Settings {
        access: daemon::lock::Access { group: options.control_group.clone(), readers: options.control_readers.clone() },
        portals: options.portal.clone(),
        default_portals: vec![Portal::required(([127, 0, 0, 1], daemon::DEFAULT_PORT).into())],
        state: folder.map(|folder| StateSettings { folder, fresh: options.state_fresh }),
        document: document.map(Box::new),
        io: options.io.parse().map_err(|_| anyhow!("--io is auto, uring or epoll"))?,
        reactors: options.reactors.map(usize::from),
        seed: options.seed,
        no_faults: options.no_faults,
        targets: if target.disks.is_empty() { Vec::new() } else { vec![target] },
        ..Settings::default()
    })
}

/// The CHAP account; its secret comes from a file or the environment, never from the command line, which everyone on the host can read.
fn account(options: &Serve) -> Result<Option<iscsi::Account>> {
    let Some(user) = options.chap.clone() else { return Ok(None) };
    let secret = match &options.chap_secret_file {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("cannot read the secret from {}", path.display()))?,
        None => std::env::var("SCUZZY_CHAP_SECRET")
            .map_err(|_| anyhow!("--chap {user} needs a secret: set SCUZZY_CHAP_SECRET or give --chap-secret-file FILE"))?,
    };
    let secret = secret.lines().next().unwrap_or_default();
    if secret.is_empty() {
        bail!("the CHAP secret of {user} is empty: 12 to 255 characters are expected by most initiators");
    }
    Ok(Some(iscsi::Account { user, password: secret.as_bytes().into() }))
}

/// Starts with the given control socket, or with the first one of this user that no other daemon holds.
fn start(mut settings: Settings, control: Option<&Path>, log: &LogControl) -> Result<Running> {
    if let Some(path) = control {
        settings.control = Some(std::path::absolute(path)?);
        return Daemon::start_with_log(settings, log.clone()).map_err(cure);
    }
    client::check_folder()?;
    for path in client::instance_paths() {
        settings.control = Some(path);
        match Daemon::start_with_log(settings.clone(), log.clone()) {
            Err(StartError::ControlBusy { .. }) => {}
            other => return other.map_err(cure),
        }
    }
    bail!("every control socket in {} is taken: name another one with --control PATH", client::runtime_folder().display())
}

fn cure(error: StartError) -> anyhow::Error {
    match error {
        StartError::Portal { address, busy: true, .. } => {
            anyhow!("{address} is in use: stop the program that listens there, or choose another with --portal {}:0", bracketed(address))
        }
        StartError::Portal { address, cause, .. } => {
            anyhow!("cannot listen on {address}: {cause}; choose an address of this host with --portal ADDR:PORT")
        }
        other => anyhow!("{other}"),
    }
}

fn bracketed(address: std::net::SocketAddr) -> String {
    if address.is_ipv6() { format!("[{}]", address.ip()) } else { address.ip().to_string() }
}

/// Hands the endpoint over: on standard output for people, as JSON for harnesses.
fn announce(options: &Serve, endpoint: &Endpoint) -> Result<()> {
    if !options.quiet && options.run.is_none() {
        let mut out = std::io::stdout().lock();
        // Nobody reads: the disks are served all the same.
        let _ = out.write_all(banner::text(options, endpoint).as_bytes()).and_then(|()| out.flush());
    }
    let line = endpoint.json() + "\n";
    if let Some(number) = options.ready_fd {
        let path = format!("/proc/self/fd/{number}");
        let opened = std::fs::OpenOptions::new().append(true).open(&path);
        opened.and_then(|mut file| file.write_all(line.as_bytes())).with_context(|| format!("cannot write to --ready-fd {number}"))?;
    }
    if let Some(path) = &options.ready_file {
        write_atomically(path, &line).with_context(|| format!("cannot write --ready-file {}", path.display()))?;
    }
    Ok(())
}

/// A reader sees no file or the whole line, never a part of it.
fn write_atomically(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    std::fs::write(&name, text)?;
    std::fs::rename(&name, path)
}

/// SIGHUP reads the configuration again, where there is one; every other signal ends.
fn serve_until_signal(running: Running, config: Option<PathBuf>) -> Result<ExitCode> {
    let (stopper, reloader) = (running.stopper(), running.reloader());
    on_signal(move |signal| match &config {
        Some(path) if signal == SIGHUP => reloader.reload(path),
        _ => stopper.request(),
    })?;
    running.wait();
    running.stop();
    Ok(ExitCode::SUCCESS)
}

/// Runs `action` for each signal that asks for the end.
pub fn on_signal(action: impl Fn(i32) + Send + 'static) -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || signals.forever().for_each(action))?;
    Ok(())
}

/// Serves while a command runs; its status becomes ours.
fn run_command(running: Running, template: &str, endpoint: &Endpoint) -> Result<ExitCode> {
    let mut child = spawn(template, endpoint)?;
    let stopper = running.stopper();
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    on_signal(move |_| {
        // A terminal sends Ctrl-C to the command as well; a SIGTERM reaches only us and is passed on.
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        stopper.request();
    })?;
    let status = child.wait().context("cannot wait for the command")?;
    running.stop();
    Ok(ExitCode::from(exit_code(status)))
}

fn spawn(template: &str, endpoint: &Endpoint) -> Result<Child> {
    let first = endpoint.urls.first().map(String::as_str).unwrap_or_default();
    let control = endpoint.control.to_string_lossy();
    let filled = template
        .replace("{url}", first)
        .replace("{portal}", &endpoint.portal)
        .replace("{target}", &endpoint.target)
        .replace("{control}", &quoted(&control));
    Command::new("/bin/sh")
        .arg("-c")
        .arg(&filled)
        .env("SCUZZY_URL", first)
        .env("SCUZZY_PORTAL", &endpoint.portal)
        .env("SCUZZY_TARGET", &endpoint.target)
        .env("SCUZZY_CONTROL", &endpoint.control)
        .stdin(Stdio::inherit())
        .spawn()
        .context("cannot start /bin/sh for --run")
}

/// A word for the shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.into() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// As a shell tells it: the status, or 128 and the signal.
fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let number = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// Asks the kernel for a signal at the parent's end; ends at once when that has passed already.
fn end_with_parent() -> Result<()> {
    let before = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).context("--exit-with-parent")?;
    if before != rustix::process::getppid() {
        bail!("the parent process is gone already");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_the_shell_are_quoted_when_they_must_be() {
        assert_eq!(quoted("/run/user/1000/scuzzy/control.0"), "/run/user/1000/scuzzy/control.0");
        assert_eq!(quoted("/tmp/a b"), "'/tmp/a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn wildcard_portals_are_reached_over_loopback() {
        assert_eq!(reachable(([0, 0, 0, 0], 99).into()).to_string(), "127.0.0.1:99");
        assert_eq!(reachable(([10, 0, 0, 1], 99).into()).to_string(), "10.0.0.1:99");
    }
}

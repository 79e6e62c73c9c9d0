//! `tgtd`: the daemon, with tgt's command line.

use std::io::{Read, Write};
use std::net::ToSocketAddrs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use admin::options::Parsed;
use admin::options::tgtd::{Daemon as Options, IoDriver, parse};
use daemon::passed::{self, Passed};
use daemon::{Daemon, IoChoice, Portal, Running, Settings, StateSettings, configuration_file, lock, log, notify};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Set in the process that goes to the background; its standard output leads to the one that waits for it.
const BACKGROUND: &str = "SCUZZY_TGTD_BACKGROUND";
/// What it writes there when everything is open.
const READY: &[u8] = b"ready";
fn main() -> ExitCode {
    let arguments: Vec<Vec<u8>> = std::env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    match parse(&arguments, env!("CARGO_PKG_VERSION")) {
        Ok(Parsed::Run(options)) => run(options),
        Ok(Parsed::Print(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(usage) => {
            eprint!("{}", usage.message);
            ExitCode::from(usage.status)
        }
    }
}

fn run(mut options: Options) -> ExitCode {
    // The daemon leaves its folder.
    for path in [&mut options.config, &mut options.state].into_iter().flatten() {
        *path = std::path::absolute(&*path).map_or_else(|_| path.clone(), Into::into);
    }
    let options = &options;
    let background = std::env::var_os(BACKGROUND).is_some();
    let outcome = match (options.foreground || options.nodaemonize, background) {
        (false, false) if passed::count().is_ok_and(|count| count == 0) => return detach(),
        (false, false) => Err("sockets were passed (LISTEN_FDS), which only a daemon in the foreground takes: add --foreground".into()),
        (false, true) => serve_in_background(options),
        (true, _) => serve(options, || Ok(())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("tgtd: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Starts this program again for the background and waits until it has opened everything: the caller learns whether the daemon really runs.
fn detach() -> ExitCode {
    let started = std::env::current_exe().and_then(|program| {
        Command::new(program).arg0("tgtd").args(std::env::args_os().skip(1)).env(BACKGROUND, "1").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
    });
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            eprintln!("tgtd: cannot go to the background: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut word = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        // An early end is told by the missing word.
        let _ = pipe.read_to_end(&mut word);
    }
    if word == READY {
        return ExitCode::SUCCESS;
    }
    let code = child.wait().ok().and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok()).filter(|&code| code != 0);
    ExitCode::from(code.unwrap_or(1))
}

fn serve_in_background(options: &Options) -> Result<(), String> {
    // Fails only for a process group leader, which we are not: somebody just started us.
    let _ = rustix::process::setsid();
    let pid_file = options.pid_file.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.into()));
    std::env::set_current_dir("/").map_err(|error| error.to_string())?;
    let outcome = serve(options, || {
        if let Some(path) = &pid_file {
            std::fs::write(path, std::process::id().to_string()).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        std::io::stdout().write_all(READY).and_then(|()| std::io::stdout().flush()).map_err(|error| error.to_string())?;
        leave_terminal().map_err(|error| error.to_string())
    });
    if let Some(path) = pid_file.filter(|_| outcome.is_ok()) {
        // Somebody else may have removed it.
        let _ = std::fs::remove_file(path);
    }
    outcome
}

/// Standard input, output and error lead nowhere from here on.
fn leave_terminal() -> std::io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// Starts, tells `ready`, and serves until a signal or `system delete`.
fn serve(options: &Options, ready: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let log = log::install(options.log.parse()?, if options.debug { "debug" } else { "info" });
    prepare_process();
    let passed = passed::take().map_err(|error| format!("passed sockets: {error}"))?;
    let mut running = Daemon::start_with_log(settings(options, passed)?, log).map_err(|error| error.to_string())?;
    // Twice within the time that the watchdog gives: one may come late.
    if let Some(limit) = notify::watchdog() {
        running.watch(limit / 2, notify::alive).map_err(|error| format!("no thread for the watchdog: {error}"))?;
    }
    let (stopper, reloader, config) = (running.stopper(), running.reloader(), options.config.clone());
    let act = move |signal| match &config {
        Some(path) if signal == SIGHUP => reloader.reload(Path::new(path)),
        _ => stopper.request(),
    };
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| error.to_string())?;
    let watcher = std::thread::Builder::new().name("signals".into());
    watcher.spawn(move || signals.forever().for_each(act)).map_err(|error| error.to_string())?;
    if let Err(error) = ready() {
        running.stop();
        return Err(error);
    }
    serve_until_end(running);
    Ok(())
}

fn serve_until_end(running: Running) {
    notify::ready("serving");
    running.wait();
    notify::stopping();
    running.stop();
}

/// As many file descriptors as allowed, and the last to be killed for memory. Neither is granted to every user, and neither is needed to start.
fn prepare_process() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok());
    let granted = most.is_some_and(|most| setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) }).is_ok());
    if !granted {
        let hard = getrlimit(Resource::Nofile).maximum;
        let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
    }
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
}

/// What the daemon is told to do by its command line.
fn settings(options: &Options, passed: Vec<Passed>) -> Result<Settings, String> {
    let document = options.config.as_ref().map(|path| configuration_file::load(Path::new(path))).transpose()?;
    if document.as_ref().is_some_and(|document| document.portals.is_some()) && !options.portals.is_empty() {
        return Err("the configuration says where to listen, and so does --iscsi portal=: only one of the two can".into());
    }
    Ok(Settings {
        portals: portals(options)?,
        passed: passed.into_iter().map(Arc::new).collect(),
        default_portals: Portal::everywhere(),
        state: options.state.as_ref().map(|folder| StateSettings { folder: folder.into(), fresh: options.state_fresh }),
        document: document.map(Box::new),
        control: Some(lock::control_path(options.control_port)),
        access: lock::Access { group: options.control_group.clone(), readers: options.control_readers.clone() },
        io: match options.io {
            IoDriver::Auto => IoChoice::Auto,
            IoDriver::Uring => IoChoice::Uring,
            IoDriver::Epoll => IoChoice::Epoll,
        },
        reactors: options.reactors.and_then(|count| usize::try_from(count).ok()),
        seed: options.seed,
        no_faults: !options.faults,
        nop_interval: options.nop_interval,
        nop_count: options.nop_count,
        ..Settings::default()
    })
}

/// Every portal that is asked for must open: listening somewhere else instead would offer disks to whom nobody meant.
fn portals(options: &Options) -> Result<Vec<Portal>, String> {
    let mut portals = Vec::new();
    for portal in &options.portals {
        let found = (portal.host.as_str(), portal.port).to_socket_addrs().map_err(|error| format!("portal '{portal}': {error}"))?;
        let address = found.into_iter().next().ok_or_else(|| format!("portal '{portal}': no address"))?;
        portals.push(Portal::required(address).in_group(portal.group));
    }
    Ok(portals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_portal_means_everywhere() {
        let settings = settings(&Options::default(), Vec::new()).expect("settings");
        assert_eq!((settings.portals.len(), settings.default_portals.len()), (0, 2));
        let one = Options { portals: vec![admin::portal::Portal { host: "127.0.0.1".into(), port: 0, group: 3 }], ..Options::default() };
        assert_eq!(portals(&one), Ok(vec![Portal::required(([127, 0, 0, 1], 0).into()).in_group(3)]));
    }
}

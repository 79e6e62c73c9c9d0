//! Where log lines go.

use std::str::FromStr;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// How log lines look and where they go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// The journal when systemd connected stderr to it, otherwise text.
    #[default]
    Auto,
    /// Lines for people on stderr.
    Text,
    /// One JSON object a line on stderr.
    Json,
    /// The system's journal.
    Journal,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<LogFormat, String> {
        match text {
            "auto" => Ok(LogFormat::Auto),
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            "journal" | "journald" => Ok(LogFormat::Journal),
            other => Err(format!("`{other}` is no log format: auto, text, json, journal")),
        }
    }
}

/// Turns debug messages on and off while the daemon runs.
#[derive(Clone, Default)]
pub struct LogControl(Option<reload::Handle<EnvFilter, Registry>>);

impl LogControl {
    /// Sets the level: debug or the one of the start.
    pub fn set_debug(&self, on: bool) {
        if let Some(handle) = &self.0 {
            // A failure means that the subscriber is gone, and with it everyone who would read the lines.
            let _ = handle.reload(filter(if on { "debug" } else { "info" }));
        }
    }
}

/// Installs the process-wide subscriber. For programs, once, before a daemon starts; a library user may install another one instead. The
/// variable `SCUZZY_LOG` overrides `level` (for example `debug` or `transport=trace`).
pub fn install(format: LogFormat, level: &str) -> LogControl {
    let (filter, handle) = reload::Layer::new(filter(level));
    let layer = output(format);
    let installed = tracing_subscriber::registry().with(filter).with(layer).try_init().is_ok();
    LogControl(installed.then_some(handle))
}

type Output = Box<dyn Layer<tracing_subscriber::layer::Layered<reload::Layer<EnvFilter, Registry>, Registry>> + Send + Sync>;

fn output(format: LogFormat) -> Output {
    let journal = match format {
        LogFormat::Journal => true,
        LogFormat::Auto => std::env::var_os("JOURNAL_STREAM").is_some(),
        LogFormat::Text | LogFormat::Json => false,
    };
    if journal && let Ok(layer) = tracing_journald::layer() {
        return Box::new(layer.with_syslog_identifier("scuzzy".into()));
    }
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Json => Box::new(lines.json().flatten_event(true)),
        _ => {
            use std::io::IsTerminal;
            Box::new(lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).compact())
        }
    }
}

fn filter(level: &str) -> EnvFilter {
    let default = LevelFilter::from_str(level).unwrap_or(LevelFilter::INFO);
    EnvFilter::builder().with_default_directive(default.into()).with_env_var("SCUZZY_LOG").from_env_lossy()
}

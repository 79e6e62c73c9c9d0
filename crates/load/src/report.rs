//! What was counted.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use rustix::time::Timespec;
use serde_json::{Value, json};

use crate::plan::{Direction, Plan};

/// Nanoseconds of the longest latency that is told apart.
const LONGEST: u64 = 60_000_000_000;

/// A command that ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub begun: Instant,
    pub good: bool,
}

/// Counts and latencies.
#[derive(Debug)]
pub struct Report {
    /// Commands that began and ended with GOOD in the time that counts.
    pub completed: u64,
    /// Commands that ended with anything else.
    pub errors: u64,
    /// Nanoseconds from the call to the answer.
    latency: Histogram<u64>,
    login: Duration,
}

impl Report {
    pub(crate) fn new(login: Duration) -> Result<Report> {
        Ok(Report { completed: 0, errors: 0, latency: Histogram::new_with_bounds(1, LONGEST, 3)?, login })
    }

    pub(crate) fn take(&mut self, ended: Ended, count_from: Instant, end: Instant) {
        let now = Instant::now();
        if !ended.good {
            self.errors += 1;
        } else if ended.begun >= count_from && now <= end {
            self.completed += 1;
            self.latency.saturating_record(u64::try_from(now.duration_since(ended.begun).as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// The JSON of `bench/iload.c`.
    pub fn to_json(&self, plan: &Plan) -> Value {
        let seconds = plan.duration.as_secs_f64();
        let rate = self.completed as f64 / seconds;
        let micros = |quantile: f64| self.latency.value_at_quantile(quantile) as f64 / 1e3;
        let name = match plan.direction {
            Direction::Read => "read",
            Direction::Write => "write",
            Direction::Both => "rw",
        };
        json!({
            "rw": format!("{}{name}", if plan.random { "rand" } else { "" }),
            "bs": plan.bytes, "qd": plan.depth, "sessions": plan.sessions, "secs": seconds,
            "ios": self.completed, "errors": self.errors, "iops": rate, "mbps": rate * f64::from(plan.bytes) / 1e6,
            "lat_us": {
                "mean": self.latency.mean() / 1e3, "p50": micros(0.5), "p90": micros(0.9), "p99": micros(0.99), "p99_9": micros(0.999),
                "max": self.latency.max() as f64 / 1e3,
            },
            "login_s": self.login.as_secs_f64(), "cpu_s": cpu_seconds(),
        })
    }
}

/// CPU time of this process: user and system, seconds.
fn cpu_seconds() -> f64 {
    let Timespec { tv_sec, tv_nsec } = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    tv_sec as f64 + tv_nsec as f64 / 1e9
}

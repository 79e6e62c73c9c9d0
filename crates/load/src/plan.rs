//! What is to be done: the words of the command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

/// Most bytes of one command.
const LONGEST: u32 = 16 << 20;
/// Most commands under way in a session, and most sessions.
const MANY: usize = 65536;

/// Which commands are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// READ(16).
    Read,
    /// WRITE(16).
    Write,
    /// Half of each.
    Both,
}

/// A measurement.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Portal.
    pub portal: SocketAddr,
    /// TargetName.
    pub target: String,
    /// Logical unit number.
    pub lun: u64,
    /// Commands.
    pub direction: Direction,
    /// Addresses at random, not one after the other.
    pub random: bool,
    /// Bytes of a command.
    pub bytes: u32,
    /// Commands under way in each session.
    pub depth: usize,
    /// Sessions.
    pub sessions: usize,
    /// How long is counted.
    pub duration: Duration,
    /// How long the load runs before.
    pub ramp: Duration,
    /// Bytes of the unit that are used; 0: all.
    pub range: u64,
    /// Header digests are wanted.
    pub header_digest: bool,
    /// Data digests are wanted.
    pub data_digest: bool,
    /// Longest data segment we take, and the bursts we offer: bytes.
    pub segment: u32,
    /// Seed of the addresses.
    pub seed: u64,
}

impl Plan {
    /// Reads `iscsi://HOST:PORT/TARGET/LUN` and `WORD=VALUE`s.
    ///
    /// # Errors
    /// With the word that is wrong.
    pub fn parse(words: &[String]) -> Result<Plan> {
        let [url, words @ ..] = words else { bail!("usage: scuzzy-load iscsi://HOST:PORT/TARGET/LUN [rw=randread] [bs=4096] [qd=1] ...") };
        let mut plan = Plan::of_url(url)?;
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| anyhow!("'{word}' is not WORD=VALUE"))?;
            plan.set(key, value).with_context(|| format!("'{word}'"))?;
        }
        let limits = [
            ("bs", plan.bytes > 0 && plan.bytes <= LONGEST),
            ("qd", (1..=MANY).contains(&plan.depth)),
            ("sessions", (1..=MANY).contains(&plan.sessions)),
        ];
        if let Some((key, _)) = limits.iter().find(|(_, fits)| !fits) {
            bail!("'{key}' is out of range");
        }
        Ok(plan)
    }

    fn of_url(url: &str) -> Result<Plan> {
        let malformed = || anyhow!("'{url}' is not iscsi://HOST:PORT/TARGET/LUN");
        let mut parts = url.strip_prefix("iscsi://").ok_or_else(malformed)?.split('/');
        let (Some(portal), Some(target), Some(lun), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else { return Err(malformed()) };
        Ok(Plan {
            portal: portal.to_socket_addrs().with_context(|| format!("'{portal}'"))?.next().ok_or_else(malformed)?,
            target: target.to_owned(),
            lun: lun.parse().map_err(|_| malformed())?,
            direction: Direction::Read,
            random: true,
            bytes: 4096,
            depth: 1,
            sessions: 1,
            duration: Duration::from_secs(3),
            ramp: Duration::from_millis(300),
            range: 0,
            header_digest: false,
            data_digest: false,
            segment: 262_144,
            seed: 0,
        })
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "rw" => (self.random, self.direction) = direction(value)?,
            "bs" => self.bytes = value.parse()?,
            "qd" => self.depth = value.parse()?,
            "sessions" => self.sessions = value.parse()?,
            "secs" => self.duration = Duration::try_from_secs_f64(value.parse()?)?,
            "ramp" => self.ramp = Duration::try_from_secs_f64(value.parse()?)?,
            "range" => self.range = value.parse()?,
            "hdigest" => self.header_digest = value.parse::<u8>()? != 0,
            "ddigest" => self.data_digest = value.parse::<u8>()? != 0,
            "segment" => self.segment = value.parse()?,
            "seed" => self.seed = value.parse()?,
            _ => bail!("no such word"),
        }
        Ok(())
    }
}

fn direction(value: &str) -> Result<(bool, Direction)> {
    Ok(match value {
        "read" => (false, Direction::Read),
        "write" => (false, Direction::Write),
        "randread" => (true, Direction::Read),
        "randwrite" => (true, Direction::Write),
        "randrw" => (true, Direction::Both),
        _ => bail!("one of read, write, randread, randwrite, randrw"),
    })
}

#[cfg(test)]
mod tests {
    use super::{Direction, Plan};

    fn parse(words: &str) -> anyhow::Result<Plan> {
        Plan::parse(&words.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn takes_the_words_of_iload() {
        let plan = parse("iscsi://127.0.0.1:3260/iqn.a:b/1 rw=write bs=262144 qd=8 sessions=4 secs=0.5 hdigest=1 ddigest=1 seed=7").unwrap();
        assert_eq!((plan.direction, plan.random, plan.bytes, plan.depth, plan.sessions), (Direction::Write, false, 262_144, 8, 4));
        assert_eq!((plan.header_digest, plan.data_digest, plan.seed, plan.lun), (true, true, 7, 1));
        assert_eq!(plan.duration.as_millis(), 500);
    }

    #[test]
    fn names_the_wrong_word() {
        for (words, named) in [
            ("iscsi://127.0.0.1:3260/iqn.a:b", "iscsi://127.0.0.1:3260/iqn.a:b"),
            ("iscsi://127.0.0.1:3260/iqn.a:b/1 rw=sideways", "rw=sideways"),
            ("iscsi://127.0.0.1:3260/iqn.a:b/1 qd=0", "qd"),
            ("iscsi://127.0.0.1:3260/iqn.a:b/1 bs=0", "bs"),
            ("iscsi://127.0.0.1:3260/iqn.a:b/1 secs=-1", "secs=-1"),
            ("iscsi://127.0.0.1:3260/iqn.a:b/1 speed=9", "speed=9"),
        ] {
            let said = format!("{:#}", parse(words).unwrap_err());
            assert!(said.contains(named), "{said}");
        }
    }
}

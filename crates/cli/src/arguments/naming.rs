//! How the commands name things, and what they have in common.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;

/// Most seconds between two looks: a day.
const LONGEST: f64 = 86_400.0;

/// Go on showing.
#[derive(Args, Clone, Copy, Debug)]
pub struct Watch {
    /// Show it again whenever it changes; look every SECONDS, 1 if none are given
    ///
    /// A terminal is redrawn. With --json each change is one line.
    #[arg(long, short, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = seconds)]
    pub watch: Option<Duration>,
}

/// `TARGET/LUN`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnitPlace {
    /// Number, name, or end of a name.
    pub target: String,
    /// Unit number.
    pub lun: u64,
}

impl FromStr for UnitPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<UnitPlace, String> {
        let wrong = || format!("`{text}` names no unit: write TARGET/LUN, for example 1/1 or :disk/1");
        let (target, lun) = text.rsplit_once('/').filter(|(target, _)| !target.is_empty()).ok_or_else(wrong)?;
        Ok(UnitPlace { target: target.into(), lun: lun.parse().map_err(|_| wrong())? })
    }
}

/// `KEY=VALUE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// The name of a setting.
    pub key: String,
    /// Its new value, perhaps empty.
    pub value: String,
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Assignment, String> {
        let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("write KEY=VALUE")?;
        Ok(Assignment { key: key.into(), value: value.into() })
    }
}

/// Names and what they take, a line each, for the end of a help text.
pub fn lines(heading: &str, rows: &[(&'static str, String)]) -> String {
    let width = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
    let mut text = format!("{heading}\n");
    for (name, allowed) in rows {
        text.push_str(&format!("  {name:<width$}  {allowed}\n"));
    }
    text.trim_end().to_owned()
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    if !(0.1..=LONGEST).contains(&seconds) {
        return Err(format!("0.1 to {LONGEST} seconds"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_named_by_target_and_number() {
        let read = |text: &str| text.parse::<UnitPlace>().ok().map(|place| (place.target, place.lun));
        assert_eq!(read("1/2"), Some(("1".into(), 2)));
        assert_eq!(read(":disk/0"), Some((":disk".into(), 0)));
        for text in ["", "1", "/1", "1/", "1/x", "1/-1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn assignments_split_at_the_first_sign() {
        let read = |text: &str| text.parse::<Assignment>().ok().map(|set| (set.key, set.value));
        assert_eq!(read("a=b=c"), Some(("a".into(), "b=c".into())));
        assert_eq!(read("a="), Some(("a".into(), String::new())));
        assert_eq!((read("a"), read("=b")), (None, None));
    }

    #[test]
    fn watching_takes_a_while() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "x", "NaN", "inf", "1e9"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}

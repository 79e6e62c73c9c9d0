//! Targets and units by the names that people give them.

use admin::view::{TargetView, UnitView};
use anyhow::{Result, anyhow, bail};

use crate::arguments::UnitPlace;

/// Most names that a line lists.
const LISTED: usize = 8;
/// Letters between the parts of a name.
const BORDERS: &[char] = &[':', '.', '-'];

/// The target with this number, this name, or a name that ends so. An end begins at a border: `disk` and `:disk` are ends of `iqn.x:disk`, `sk` is none.
///
/// # Errors
/// There is none, or there are several; the line lists them.
pub fn target<'a>(targets: &'a [TargetView], text: &str) -> Result<&'a TargetView> {
    if let Ok(tid) = text.parse::<i32>() {
        return targets.iter().find(|target| target.tid == tid).ok_or_else(|| unknown(targets, text));
    }
    if let Some(target) = targets.iter().find(|target| target.name.eq_ignore_ascii_case(text)) {
        return Ok(target);
    }
    let ending: Vec<&TargetView> = targets.iter().filter(|target| ends_with(&target.name, text)).collect();
    match ending.as_slice() {
        [one] => Ok(one),
        [] => Err(unknown(targets, text)),
        several => bail!("`{text}` is the end of several names: {}", listed(several.iter().copied())),
    }
}

/// The unit at this place, and its target.
///
/// # Errors
/// There is none; the line lists what there is.
pub fn unit<'a>(targets: &'a [TargetView], place: &UnitPlace) -> Result<(&'a TargetView, &'a UnitView)> {
    let target = target(targets, &place.target)?;
    let unit = target.units.iter().find(|unit| unit.lun == place.lun);
    unit.map(|unit| (target, unit)).ok_or_else(|| {
        let units: Vec<String> = target.units.iter().filter(|unit| unit.lun != 0).map(|unit| format!("{}/{}", target.tid, unit.lun)).collect();
        match units.as_slice() {
            [] => anyhow!("target {} has no unit {}: it has none yet", target.tid, place.lun),
            units => anyhow!("target {} has no unit {}: it has {}", target.tid, place.lun, shortened(units)),
        }
    })
}

fn ends_with(name: &str, text: &str) -> bool {
    let Some(before) = name.to_ascii_lowercase().strip_suffix(&text.to_ascii_lowercase()).map(ToOwned::to_owned) else { return false };
    !text.is_empty() && (text.starts_with(BORDERS) || before.ends_with(BORDERS))
}

fn unknown(targets: &[TargetView], text: &str) -> anyhow::Error {
    match targets {
        [] => anyhow!("no target `{text}`: there is none yet"),
        targets => anyhow!("no target `{text}`: there are {}", listed(targets.iter())),
    }
}

fn listed<'a>(targets: impl Iterator<Item = &'a TargetView>) -> String {
    shortened(&targets.map(|target| format!("{} ({})", target.tid, target.name)).collect::<Vec<_>>())
}

fn shortened(things: &[String]) -> String {
    let shown = things.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if things.len() > LISTED { format!("{shown} and {} more", things.len() - LISTED) } else { shown }
}

#[cfg(test)]
mod tests {
    use admin::request::RunState;

    use super::*;

    fn named(tid: i32, name: &str) -> TargetView {
        TargetView {
            tid,
            name: name.into(),
            driver: "iscsi".into(),
            state: RunState::Ready,
            nop_interval: 0,
            nop_count: 0,
            sessions: Vec::new(),
            units: Vec::new(),
            incoming: Vec::new(),
            outgoing: None,
            addresses: Vec::new(),
            names: Vec::new(),
        }
    }

    #[test]
    fn names_are_exact_or_ends_that_are_alone() {
        let targets = [named(1, "iqn.x:disk"), named(2, "iqn.x:old:disk"), named(7, "iqn.x:tape-1"), named(8, "iqn.x:7")];
        let found = |text: &str| target(&targets, text).map(|target| target.tid).map_err(|error| error.to_string());
        assert_eq!(found("1"), Ok(1));
        assert_eq!(found("7"), Ok(7), "a number is a number");
        assert_eq!(found("IQN.x:disk"), Ok(1));
        assert_eq!((found(":old:disk"), found("tape-1"), found(":7")), (Ok(2), Ok(7), Ok(8)));
        assert_eq!(found("disk"), Err("`disk` is the end of several names: 1 (iqn.x:disk), 2 (iqn.x:old:disk)".into()));
        assert_eq!(found("sk"), Err("no target `sk`: there are 1 (iqn.x:disk), 2 (iqn.x:old:disk), 7 (iqn.x:tape-1), 8 (iqn.x:7)".into()));
        assert!(found("").is_err() && found("9").is_err());
    }

    #[test]
    fn nothing_there_is_said() {
        assert_eq!(target(&[], "x").map(|target| target.tid).map_err(|error| error.to_string()), Err("no target `x`: there is none yet".into()));
        let targets = [named(1, "iqn.x:disk")];
        let place = UnitPlace { target: "1".into(), lun: 4 };
        assert_eq!(unit(&targets, &place).map(drop).map_err(|error| error.to_string()), Err("target 1 has no unit 4: it has none yet".into()));
    }
}

//! Asymmetric access of a unit: which changes initiators are told of, and how target port groups begin.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use scsi::AccessState;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Which changes of access states initiators are told of, and may ask for (TPGS of INQUIRY).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Alua {
    /// There are no target port groups.
    None,
    /// Those of the administrator.
    Implicit,
    /// Those of SET TARGET PORT GROUPS.
    Explicit,
    /// Both kinds.
    Both,
}

impl Alua {
    /// All four.
    pub const ALL: [Alua; 4] = [Alua::None, Alua::Implicit, Alua::Explicit, Alua::Both];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Alua::None => "none",
            Alua::Implicit => "implicit",
            Alua::Explicit => "explicit",
            Alua::Both => "both",
        }
    }

    /// What the word means.
    pub fn from_word(word: &str) -> Option<Alua> {
        Alua::ALL.into_iter().find(|alua| alua.word() == word)
    }
}

/// State of a target port group, as the administrator wants it: `group:state` or `group:state:preferred`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Access {
    /// Portal group tag, 1 to 65535.
    pub group: u16,
    /// State.
    pub state: AccessState,
    /// Preferred (PREF).
    pub preferred: bool,
}

impl Access {
    /// Reads `2:standby` and `1:optimized:preferred`.
    ///
    /// # Errors
    /// What is expected.
    pub fn parse(text: &str) -> Result<Access, String> {
        let states = AccessState::ALL.map(AccessState::word).join(", ");
        let bad = || format!("`{text}` is no access state: write group:state or group:state:preferred; the states are {states}");
        let mut words = text.split(':');
        let group = words.next().and_then(|word| word.parse().ok()).filter(|&group| group != 0 && !text.starts_with('+'));
        let state = words.next().and_then(AccessState::from_word);
        let preferred = match words.next() {
            None => false,
            Some("preferred") => true,
            Some(_) => return Err(bad()),
        };
        match (group, state, words.next()) {
            (Some(group), Some(state), None) => Ok(Access { group, state, preferred }),
            _ => Err(bad()),
        }
    }

    /// How a group is that nobody said anything about.
    pub fn is_default(&self) -> bool {
        self.state == AccessState::Optimized && !self.preferred
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}{}", self.group, self.state.word(), if self.preferred { ":preferred" } else { "" })
    }
}

impl Serialize for Access {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Access, D::Error> {
        Access::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Access {
    fn schema_name() -> Cow<'static, str> {
        "Access".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["2:standby", "1:optimized:preferred"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_values() {
        for (text, group, state, preferred) in [
            ("2:standby", 2, AccessState::Standby, false),
            ("1:optimized:preferred", 1, AccessState::Optimized, true),
            ("65535:non-optimized", 65535, AccessState::NonOptimized, false),
        ] {
            let access = Access { group, state, preferred };
            assert_eq!(Access::parse(text), Ok(access));
            assert_eq!(access.to_string(), text);
        }
        for bad in ["", "0:standby", "2", "2:", "2:active", "2:standby:", "2:standby:yes", "2:standby:preferred:", "+2:standby", "65536:standby"] {
            assert!(Access::parse(bad).is_err_and(|error| error.contains("non-optimized")), "{bad}");
        }
    }
}

//! Values of a document that are more than a number or a text.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{number, size};

/// A secret: it is never printed by accident.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A size in bytes, written as a number or as `512M`, `4G`, `1.5T`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    /// The shortest exact form that [`size::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(50, 'P'), (40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
        match units.into_iter().find(|(shift, _)| self.0 != 0 && self.0.trailing_zeros() >= *shift) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        match Plain::deserialize(deserializer)? {
            Plain::Text(text) => size::parse(&text).map(Size).map_err(D::Error::custom),
            Plain::Number(bytes) => size::parse(&bytes.to_string()).map(Size).map_err(D::Error::custom),
            Plain::Flag(_) => Err(D::Error::custom("a size is bytes or a number with K, M, G, T, for example \"512M\"")),
        }
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "examples": ["512M", "4G", "1.5T", 1_048_576] })
    }
}

/// The value of a negotiation key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyValue {
    /// `true` or `false`: Yes or No.
    Flag(bool),
    /// A number.
    Number(u64),
    /// A word.
    Text(String),
}

impl KeyValue {
    /// As negotiation writes it.
    pub fn text(&self) -> String {
        match self {
            KeyValue::Flag(flag) => if *flag { "Yes" } else { "No" }.into(),
            KeyValue::Number(number) => number.to_string(),
            KeyValue::Text(text) => text.clone(),
        }
    }
}

impl Serialize for KeyValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            KeyValue::Flag(flag) => serializer.serialize_bool(*flag),
            KeyValue::Number(number) => serializer.serialize_u64(*number),
            KeyValue::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for KeyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KeyValue, D::Error> {
        Ok(match Plain::deserialize(deserializer)? {
            Plain::Flag(flag) => KeyValue::Flag(flag),
            Plain::Number(number) => KeyValue::Number(number),
            Plain::Text(text) => KeyValue::Text(text),
        })
    }
}

/// What TOML and JSON have for one value.
enum Plain {
    Flag(bool),
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Plain, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Plain;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a text, true or false")
            }
            fn visit_bool<E>(self, flag: bool) -> Result<Plain, E> {
                Ok(Plain::Flag(flag))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Plain, E> {
                Ok(Plain::Number(number))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Plain, E> {
                u64::try_from(number).map(Plain::Number).map_err(|_| E::custom(format!("{number} is below 0")))
            }
            fn visit_str<E>(self, text: &str) -> Result<Plain, E> {
                Ok(Plain::Text(text.into()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// How a store is opened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoreFlag {
    /// Every write is durable when it is answered.
    Sync,
    /// Bypass the page cache.
    Direct,
    /// The image is only read.
    ReadOnly,
    /// What is written stays in memory and is thrown away.
    Ephemeral,
    /// Room for protection information, and none of it until FORMAT UNIT says otherwise.
    #[serde(rename = "protection-0")]
    Protection0,
    /// Protection information of type 1: the reference tag is the block's address. FORMAT UNIT may change the type.
    #[serde(rename = "protection-1")]
    Protection1,
    /// Of type 2: commands of 32 bytes carry the tags.
    #[serde(rename = "protection-2")]
    Protection2,
    /// Of type 3: the tags are the initiator's.
    #[serde(rename = "protection-3")]
    Protection3,
}

impl StoreFlag {
    /// All of them.
    pub const ALL: [StoreFlag; 8] = [
        StoreFlag::Sync,
        StoreFlag::Direct,
        StoreFlag::ReadOnly,
        StoreFlag::Ephemeral,
        StoreFlag::Protection0,
        StoreFlag::Protection1,
        StoreFlag::Protection2,
        StoreFlag::Protection3,
    ];

    /// The type of protection that a medium without one is formatted with; `None`: another flag.
    pub fn protection(self) -> Option<u8> {
        match self {
            StoreFlag::Protection0 => Some(0),
            StoreFlag::Protection1 => Some(1),
            StoreFlag::Protection2 => Some(2),
            StoreFlag::Protection3 => Some(3),
            _ => None,
        }
    }

    /// The flag for a type of protection, 0 to 3.
    pub fn of_protection(number: u8) -> Option<StoreFlag> {
        StoreFlag::ALL.into_iter().find(|flag| flag.protection() == Some(number))
    }

    /// As `bsoflags` and the document write it.
    pub fn word(self) -> &'static str {
        match self {
            StoreFlag::Sync => "sync",
            StoreFlag::Direct => "direct",
            StoreFlag::ReadOnly => "read-only",
            StoreFlag::Ephemeral => "ephemeral",
            StoreFlag::Protection0 => "protection-0",
            StoreFlag::Protection1 => "protection-1",
            StoreFlag::Protection2 => "protection-2",
            StoreFlag::Protection3 => "protection-3",
        }
    }
}

/// Longest mode page without and with a subpage code, in bytes after the header: so much fits their length fields and MODE SENSE(10).
const PAGE_MAX: u64 = 0xff;
const SUBPAGE_MAX: u64 = 4096;

/// A mode page that the administrator gave a unit: `page:subpage:size:byte:byte:…`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ModePage {
    /// Page code, below 3Fh (which asks for all pages).
    pub page: u8,
    /// Subpage code, below FFh (which asks for all subpages).
    pub subpage: u8,
    /// Bytes after the page header.
    pub size: u16,
    /// The first of them; the rest are zeros.
    pub data: Vec<u8>,
}

impl ModePage {
    /// Reads C numbers between colons.
    ///
    /// # Errors
    /// What is expected.
    pub fn parse(text: &str) -> Result<ModePage, String> {
        let bad = || format!("`{text}` is no mode page: write page:subpage:size:byte:byte:…, with at most size bytes");
        let field = |word: &str, most: u64| number::in_range(word, 0, most).ok_or_else(bad);
        let small = |value: u64| u8::try_from(value).map_err(|_| bad());
        let mut words = text.split(':');
        let mut head = |most: u64| words.next().ok_or_else(bad).and_then(|word| field(word, most));
        let (page, subpage, size) = (small(head(0x3e)?)?, small(head(0xfe)?)?, head(SUBPAGE_MAX)?);
        let data = words.map(|word| field(word, 0xff).and_then(small)).collect::<Result<Vec<u8>, _>>()?;
        if data.len() as u64 > size || subpage == 0 && size > PAGE_MAX {
            return Err(bad());
        }
        Ok(ModePage::new(page, subpage, u16::try_from(size).map_err(|_| bad())?, data))
    }

    /// With these bytes; zeros at the end are not kept, because missing ones are zeros.
    pub fn new(page: u8, subpage: u8, size: u16, mut data: Vec<u8>) -> ModePage {
        data.truncate(data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        ModePage { page, subpage, size, data }
    }
}

impl fmt::Display for ModePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}:{:#04x}:{}", self.page, self.subpage, self.size)?;
        self.data.iter().try_for_each(|byte| write!(f, ":{byte:#04x}"))
    }
}

impl Serialize for ModePage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ModePage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ModePage, D::Error> {
        ModePage::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for ModePage {
    fn schema_name() -> Cow<'static, str> {
        "ModePage".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["8:0:18:0x10"] })
    }
}

//! One logical unit of a document.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Access, Alua, ModePage, Size, StoreFlag};
use crate::request::UnitNew;

/// What a unit is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum UnitType {
    #[default]
    Disk,
    Tape,
    Cd,
    Changer,
    Osd,
    Passthrough,
}

impl UnitType {
    const ROWS: [(UnitType, &'static str, u8); 6] = [
        (UnitType::Disk, "disk", 0x00),
        (UnitType::Tape, "tape", 0x01),
        (UnitType::Cd, "cd", 0x05),
        (UnitType::Changer, "changer", 0x08),
        (UnitType::Osd, "osd", 0x11),
        (UnitType::Passthrough, "passthrough", 0xff),
    ];

    fn row(self) -> (UnitType, &'static str, u8) {
        Self::ROWS.into_iter().find(|row| row.0 == self).unwrap_or(Self::ROWS[0])
    }

    /// SCSI peripheral device type; ffh: passthrough.
    pub fn number(self) -> u8 {
        self.row().2
    }

    /// The word of the document.
    pub fn word(self) -> &'static str {
        self.row().1
    }

    /// The type with that peripheral device type. `None`: not one that units can have.
    pub fn from_number(number: u8) -> Option<UnitType> {
        Self::ROWS.into_iter().find(|row| row.2 == number).map(|row| row.0)
    }

    #[allow(clippy::trivially_copy_pass_by_ref)] // The form that serde calls.
    fn is_disk(&self) -> bool {
        *self == UnitType::Disk
    }
}

/// One logical unit. What is left out has the value of a new unit.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// Number, 1 to 16383; it tells which running unit is meant.
    pub lun: u64,
    /// `disk` when left out.
    #[serde(rename = "type", default, skip_serializing_if = "UnitType::is_disk")]
    pub kind: UnitType,
    /// Where its bytes live: `rdwr` (an image or block device; when left out), `aio` (the same, past the page cache), `memory`, `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// Image or block device, in the folder of the configuration unless absolute. Absent: a removable unit without medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Size of a `memory` store: bytes, or `512M`, `4G`, `1.5T`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// How the store is opened: any of `sync`, `direct`, `read-only`, `ephemeral`, and one of `protection-0` to `protection-3`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<StoreFlag>,
    /// Options of the store, as its kind understands them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bsopts: Option<String>,
    /// Logical block length in bytes: 512 (when left out), 1024, 2048, … 65536.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u32>,
    /// What tells the unit from others for ever: serial number and designators are made of it, the target's name and the unit number, and not of target
    /// numbers as in tgt. The vendor is then SCUZZY, and thin provisioning on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Text of the T10 designator, up to 36 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scsi_id: Option<String>,
    /// Unit serial number, up to 36 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scsi_sn: Option<String>,
    /// Vendor, up to 8 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_id: Option<String>,
    /// Product, up to 16 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_id: Option<String>,
    /// Revision, up to 4 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_rev: Option<String>,
    /// Sense data in descriptor format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sense_format: Option<bool>,
    /// Logical blocks per physical block as a power of two, 0 to 15. Absent: as the store prefers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lbppbe: Option<u8>,
    /// Lowest aligned block, 0 to 16383.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub la_lba: Option<u16>,
    /// Optimal transfer length granularity in blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimal_xfer_gran: Option<u16>,
    /// Optimal transfer length in blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimal_xfer_len: Option<u32>,
    /// The medium can be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removable: Option<bool>,
    /// Writes are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readonly: Option<bool>,
    /// Blocks are allocated when written and can be given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thin_provisioning: Option<bool>,
    /// Medium rotation rate: 1 for solid state, 1025 to 65534 revolutions per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_rate: Option<u16>,
    /// False: the medium is taken out of service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// Mode pages instead of the type's own: `page:subpage:size:byte:byte:…`, missing bytes are zeros.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mode_pages: Vec<ModePage>,
    /// Which changes of access states initiators are told of, and may ask for: `both` when left out, `none`, `implicit`, `explicit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alua: Option<Alua>,
    /// How target port groups begin that are not active/optimized: `group:state` or `group:state:preferred`. The states are `optimized`, `non-optimized`,
    /// `standby`, `unavailable`, `offline`, `transitioning`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_states: Vec<Access>,
    /// Fault rules: `op=WRITE10,lba=0,len=8,key=3,asc=0x0c02`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// The store of a unit that names none.
pub const DEFAULT_STORE: &str = "rdwr";

/// The control mode page, whose first byte holds what `sense_format` changes.
const CONTROL: (u8, u8) = (0x0a, 0x00);

/// The value of a parameter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Text(String),
    Number(u64),
    Flag(bool),
}

impl Value {
    /// As `--params` takes it.
    pub(super) fn text(&self) -> String {
        match self {
            Value::Text(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Flag(flag) => u8::from(*flag).to_string(),
        }
    }

    /// For people.
    pub(super) fn words(&self) -> String {
        match self {
            Value::Flag(flag) => if *flag { "yes" } else { "no" }.into(),
            Value::Text(text) => format!("\"{}\"", text.escape_debug()),
            Value::Number(number) => number.to_string(),
        }
    }
}

impl Unit {
    /// With this number and nothing else.
    pub fn new(lun: u64) -> Unit {
        Unit { lun, ..Unit::default() }
    }

    /// The word of its store.
    pub fn store_word(&self) -> &str {
        self.store.as_deref().unwrap_or(DEFAULT_STORE)
    }

    /// Its path is one of the file system.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.store_word(), "rdwr" | "aio")
    }

    /// What `--backing-store` takes.
    pub fn medium(&self) -> Option<String> {
        if self.store_word() == "memory" { self.size.map(|size| size.to_string()) } else { self.path.clone() }
    }

    /// The request that makes the unit.
    pub fn new_request(&self, tid: i32) -> UnitNew {
        let flags: Vec<&str> = self.flags.iter().map(|flag| flag.word()).collect();
        UnitNew {
            tid,
            lun: self.lun,
            device_type: self.kind.number(),
            path: self.medium(),
            bstype: self.store.clone(),
            bsopts: self.bsopts.clone(),
            bsoflags: Some(flags.join(":")).filter(|text| !text.is_empty()),
            blocksize: self.block_size,
            identity: self.identity.clone(),
            parameters: Vec::new(),
        }
    }

    /// Parameters that are set, in the order in which they are best applied.
    pub(super) fn parameters(&self) -> Vec<(&'static str, Option<Value>)> {
        let text = |text: &Option<String>| text.clone().map(Value::Text);
        let flag = |flag: Option<bool>| flag.map(Value::Flag);
        vec![
            ("scsi_id", text(&self.scsi_id)),
            ("scsi_sn", text(&self.scsi_sn)),
            ("vendor_id", text(&self.vendor_id)),
            ("product_id", text(&self.product_id)),
            ("product_rev", text(&self.product_rev)),
            ("lbppbe", self.lbppbe.map(|number| Value::Number(number.into()))),
            ("la_lba", self.la_lba.map(|number| Value::Number(number.into()))),
            ("optimal_xfer_gran", self.optimal_xfer_gran.map(|number| Value::Number(number.into()))),
            ("optimal_xfer_len", self.optimal_xfer_len.map(|number| Value::Number(number.into()))),
            ("removable", flag(self.removable)),
            ("readonly", flag(self.readonly)),
            ("thin_provisioning", flag(self.thin_provisioning)),
            ("rotation_rate", self.rotation_rate.map(|number| Value::Number(number.into()))),
            ("sense_format", flag(self.sense_format)),
            ("online", flag(self.online)),
            ("alua", self.alua.map(|alua| Value::Text(alua.word().into()))),
        ]
    }

    /// The mode page with these codes.
    pub(super) fn page(&self, codes: (u8, u8)) -> Option<&ModePage> {
        self.mode_pages.iter().find(|page| (page.page, page.subpage) == codes)
    }

    /// The given control mode page, which has the bit that `sense_format` changes.
    pub(super) fn control_page(&self) -> Option<&ModePage> {
        self.page(CONTROL)
    }

    /// A mode page was set, later than everything else.
    pub fn record_page(&mut self, page: ModePage) {
        if (page.page, page.subpage) == CONTROL {
            self.sense_format = None;
        }
        self.forget_page(page.page, page.subpage);
        self.mode_pages.push(page);
    }

    /// A mode page is the type's own again.
    pub fn forget_page(&mut self, page: u8, subpage: u8) {
        self.mode_pages.retain(|known| (known.page, known.subpage) != (page, subpage));
    }

    /// The state of a target port group was set.
    pub fn record_access(&mut self, access: Access) {
        self.forget_access(access.group);
        self.access_states.push(access);
    }

    /// A target port group begins as others do.
    pub fn forget_access(&mut self, group: u16) {
        self.access_states.retain(|known| known.group != group);
    }

    /// Leaves out what a new unit has anyway, and puts lists in order.
    pub(super) fn tidy(&mut self) {
        let own = self.identity.is_some();
        let read_only = self.flags.contains(&StoreFlag::ReadOnly);
        let has_medium = self.medium().is_some();
        let disk = self.kind.is_disk();
        self.store.take_if(|word| disk && word == DEFAULT_STORE);
        self.bsopts.take_if(|text| text.is_empty());
        self.block_size.take_if(|bytes| *bytes == 512);
        self.vendor_id.take_if(|text| text == if own { "SCUZZY" } else { "IET" });
        self.product_id.take_if(|text| text == "VIRTUAL-DISK");
        self.product_rev.take_if(|text| text == "0001");
        self.la_lba.take_if(|blocks| *blocks == 0);
        self.optimal_xfer_gran.take_if(|blocks| *blocks == 0);
        self.optimal_xfer_len.take_if(|blocks| *blocks == 0);
        self.rotation_rate.take_if(|rate| *rate == 0);
        self.removable.take_if(|flag| *flag != has_medium);
        self.readonly.take_if(|flag| *flag == read_only);
        self.thin_provisioning.take_if(|flag| *flag == own);
        self.online.take_if(|flag| *flag == has_medium);
        if self.control_page().is_none() {
            self.sense_format.take_if(|flag| !*flag);
        }
        self.flags.sort_unstable();
        self.flags.dedup();
        self.mode_pages.sort();
        self.alua.take_if(|alua| *alua == Alua::Both);
        self.access_states.retain(|access| !access.is_default());
        self.access_states.sort();
        for rule in &mut self.faults {
            if let Ok(spec) = fault::grammar::parse(rule) {
                *rule = fault::grammar::render(&spec);
            }
        }
    }
}

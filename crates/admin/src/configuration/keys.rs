//! Every key of `targets.conf`, for its manual page.

/// Where a key stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Outside of the blocks.
    Global,
    /// In a target's block.
    Target,
    /// In a unit's block, or in a target's for all its units.
    Unit,
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Where it stands.
    pub place: Place,
    /// As it is written.
    pub key: &'static str,
    /// Shape of its value.
    pub value: &'static str,
    /// What it does.
    pub help: &'static str,
}

const fn row(place: Place, key: &'static str, value: &'static str, help: &'static str) -> Key {
    Key { place, key, value, help }
}

use Place::{Global, Target, Unit};

/// All of them, by place.
pub const KEYS: &[Key] = &[
    row(Global, "include", "PATH", "read this file too, all files of this folder, or those that a pattern names"),
    row(Global, "default-driver", "DRIVER", "driver of targets that name none: iscsi"),
    row(Global, "ignore-errors", "yes", "go on after a failing call"),
    row(Global, "control-port", "N", "which daemon, unless --control-port says so"),
    row(
        Global,
        "portal",
        "ADDRESS[:PORT][,GROUP]",
        "listen there, too; may repeat; IPv6 addresses stand in brackets; portals of one group are one target port",
    ),
    row(Global, "incomingdiscoveryuser", "USER SECRET", "who may discover; may repeat"),
    row(Global, "outgoingdiscoveryuser", "USER SECRET", "with what discovery proves itself to initiators"),
    row(Global, "iSNS", "On", "register at a name server"),
    row(Global, "iSNSServerIP", "ADDRESS", "address of the name server"),
    row(Global, "iSNSServerPort", "PORT", "port of the name server"),
    row(Global, "iSNSAccessControl", "On", "let the name server say who may log in"),
    row(Target, "driver", "DRIVER", "instead of the default driver"),
    row(Target, "controller_tid", "N", "number of the target; otherwise the next free one"),
    row(Target, "backing-store", "PATH", "a unit on a file or device; may repeat; a block <backing-store PATH> gives it settings of its own"),
    row(Target, "direct-store", "PATH", "the same, and the unit shows what the device below says of itself"),
    row(Target, "incominguser", "USER SECRET", "who may log in, by CHAP; may repeat"),
    row(Target, "outgoinguser", "USER SECRET", "with what the target proves itself to initiators"),
    row(
        Target,
        "initiator-address",
        "ADDRESS",
        "lets an address, a network (ADDRESS/BITS) or ALL in; may repeat; without it and without initiator-name everybody comes in",
    ),
    row(Target, "initiator-name", "NAME", "lets an initiator of this name in; may repeat"),
    row(Target, "state", "offline|ready", "whether logins are taken"),
    row(Target, "nop_interval", "SECONDS", "how often silent initiators are pinged; 0: never"),
    row(Target, "nop_count", "N", "unanswered pings before a connection is closed"),
    row(Target, "HeaderDigest", "None,CRC32C", "checksums of headers"),
    row(Target, "DataDigest", "None,CRC32C", "checksums of data"),
    row(Target, "InitialR2T", "Yes|No", "whether the first data waits to be asked for"),
    row(Target, "ImmediateData", "Yes|No", "whether data may come with the command"),
    row(Target, "MaxRecvDataSegmentLength", "BYTES", "most data in one PDU to the target, 512 to 16777215"),
    row(Target, "MaxXmitDataSegmentLength", "BYTES", "most data in one PDU to the initiator, 512 to 16777215"),
    row(Target, "FirstBurstLength", "BYTES", "most data before it is asked for, 512 to 16777215"),
    row(Target, "MaxBurstLength", "BYTES", "most data that is asked for at once, 512 to 16777215"),
    row(Target, "MaxOutstandingR2T", "N", "how many times data of one command may be asked for at once"),
    row(Target, "MaxQueueCmd", "N", "commands of a session at once, 1 to 512"),
    row(Target, "MaxConnections", "N", "connections of a session"),
    row(Target, "DataPDUInOrder", "Yes|No", "whether the PDUs of a sequence come in order"),
    row(Target, "DataSequenceInOrder", "Yes|No", "whether sequences come in order"),
    row(Target, "ErrorRecoveryLevel", "N", "highest level of error recovery"),
    row(Target, "DefaultTime2Wait", "SECONDS", "before a lost session is resumed, 0 to 3600"),
    row(Target, "DefaultTime2Retain", "SECONDS", "how long tasks of a lost session are kept, 0 to 3600"),
    row(Target, "IFMarker", "Yes|No", "markers; obsolete"),
    row(Target, "OFMarker", "Yes|No", "markers; obsolete"),
    row(Target, "IFMarkInt", "N", "distance of markers; obsolete"),
    row(Target, "OFMarkInt", "N", "distance of markers; obsolete"),
    row(Target, "RedirectAddress", "ADDRESS", "logins are sent there"),
    row(Target, "RedirectPort", "PORT", "port there"),
    row(Target, "RedirectReason", "Temporary|Permanent", "whether initiators may forget this address"),
    row(Target, "RedirectCallback", "PROGRAM", "program that says where a login is sent"),
    row(Unit, "lun", "N", "number of the unit; otherwise they are counted from 1 in the order of their paths; in the target: of its only unit"),
    row(Unit, "device-type", "disk|tape|cd|changer|osd|pt", "what the unit is; a disk unless given"),
    row(Unit, "bs-type", "STORE", "kind of store; rdwr unless given"),
    row(Unit, "bsopts", "TEXT", "options for the store"),
    row(Unit, "bsoflags", "sync|direct|sync:direct", "every write is durable when it is answered; the page cache is left out"),
    row(Unit, "block-size", "BYTES", "a power of two; in the unit's own block only"),
    row(Unit, "write-cache", "on|off", "off: the caching page says that there is none"),
    row(Unit, "allow-in-use", "yes", "serve it even if somebody else has it open"),
    row(Unit, "scsi_id", "TEXT", "its identification in the device identification page"),
    row(Unit, "scsi_sn", "TEXT", "its serial number"),
    row(Unit, "vendor_id", "TEXT", "vendor, up to 8 bytes"),
    row(Unit, "product_id", "TEXT", "product, up to 16 bytes"),
    row(Unit, "product_rev", "TEXT", "revision of the product, up to 4 bytes"),
    row(Unit, "sense_format", "0|1", "1: sense data in descriptor format"),
    row(Unit, "removable", "0|1", "1: the medium can be removed"),
    row(Unit, "online", "0|1", "0: not ready"),
    row(Unit, "readonly", "0|1", "1: initiators can only read"),
    row(Unit, "path", "PATH", "the medium, once the unit is made"),
    row(Unit, "mode_page", "PAGE:SUBPAGE:LENGTH:BYTE...", "a mode page; may repeat"),
    row(Unit, "params", "LIST", "any text for --params; may repeat"),
    row(Unit, "lbppbe", "N", "logical blocks of a physical one, as a power of two"),
    row(Unit, "la_lba", "N", "first logical block at the beginning of a physical one"),
    row(Unit, "optimal_xfer_gran", "N", "best unit of a transfer, in blocks"),
    row(Unit, "optimal_xfer_len", "N", "best length of a transfer, in blocks"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::include::Files;
    use crate::configuration::targets::Configuration;

    struct Text(String);

    impl Files for Text {
        fn read(&self, _: &std::path::Path) -> std::io::Result<Vec<u8>> {
            Ok(self.0.clone().into_bytes())
        }
        fn names(&self, _: &std::path::Path) -> Option<Vec<String>> {
            None
        }
        fn exists(&self, _: &std::path::Path) -> bool {
            true
        }
    }

    fn configuration(global: &str, target: &str, unit: &str) -> Configuration {
        let text = format!("{global}\n<target t>\n{target}\n<backing-store /s>\n{unit}\n</backing-store>\n</target>\n");
        let section = crate::configuration::read(std::path::Path::new("f"), &Text(text)).expect("parses");
        Configuration::new(&section).expect("makes sense")
    }

    #[test]
    fn every_key_means_something() {
        let plain = configuration("", "", "");
        for row in KEYS.iter().filter(|row| row.key != "include") {
            let value = match row.key {
                "ignore-errors" | "allow-in-use" => "yes",
                "write-cache" => "off",
                "lun" => "7",
                _ => "a b",
            };
            let line = format!("{} {value}", row.key);
            let changed = match row.place {
                Place::Global => configuration(&line, "", ""),
                Place::Target if row.key == "backing-store" => continue,
                Place::Target => configuration("", &line, ""),
                Place::Unit => configuration("", "", &line),
            };
            assert_ne!(changed, plain, "{}", row.key);
        }
    }

    #[test]
    fn every_setting_that_is_sent_is_listed() {
        let listed = |place: Place, key: &str| KEYS.iter().any(|row| row.place == place && row.key == key);
        for key in crate::configuration::targets::SETTINGS {
            assert!(listed(Place::Target, key), "{key}");
        }
        for key in crate::configuration::targets::ISNS {
            assert!(listed(Place::Global, key), "{key}");
        }
        for key in crate::configuration::targets::SHARED {
            assert!(listed(Place::Unit, key), "{key}");
        }
    }
}

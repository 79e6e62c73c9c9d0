//! Calls of tgtadm: as words that are sent, and as text that a shell would take for the same words.

use std::io::{self, Write};

use admin::client::{Failure, send};
use admin::options::Parsed;
use admin::options::tgtadm::parse;

/// One call of tgtadm.
#[derive(Clone, Debug, Default)]
pub struct Call {
    words: Vec<String>,
    shown: String,
}

impl Call {
    /// `tgtadm [-C N] [--lld DRIVER]`.
    pub fn new(control_port: Option<&str>, driver: Option<&str>) -> Call {
        let mut call = Call { words: Vec::new(), shown: "tgtadm".into() };
        for (option, value) in [("-C", control_port), ("--lld", driver)] {
            if let Some(value) = value {
                call = call.plain(option).value(value);
            }
        }
        call
    }

    /// Options and words without anything to quote, separated by blanks.
    pub fn plain(mut self, text: &str) -> Call {
        for word in text.split(' ') {
            self.add(word.to_owned(), word.to_owned());
        }
        self
    }

    /// A value, in quotes when a shell needs them.
    pub fn value(mut self, value: &str) -> Call {
        self.add(value.to_owned(), quoted(value, false));
        self
    }

    /// `KEY=VALUE` in one word, of which only the value is quoted.
    pub fn pair(mut self, key: &str, value: &str) -> Call {
        self.add(format!("{key}={value}"), format!("{key}={}", quoted(value, false)));
        self
    }

    /// `--params KEY='VALUE'`, always quoted.
    pub fn update(self, key: &str, value: &str) -> Call {
        let mut call = self.plain("--params");
        call.add(format!("{key}={value}"), format!("{key}={}", quoted(value, true)));
        call
    }

    /// `OPTION 'VALUE'`, always quoted.
    pub fn option(self, option: &str, value: &str) -> Call {
        let mut call = self.plain(option);
        call.add(value.to_owned(), quoted(value, true));
        call
    }

    fn add(&mut self, word: String, shown: String) {
        self.words.push(word);
        self.shown.push(' ');
        self.shown.push_str(&shown);
    }

    /// As tgtadm would be called in a shell.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Makes the call; the daemon's text.
    pub fn make(&self) -> Result<Vec<u8>, Failure> {
        let words: Vec<Vec<u8>> = self.words.iter().map(|word| word.clone().into_bytes()).collect();
        match parse(&words, env!("CARGO_PKG_VERSION")) {
            Ok(Parsed::Run(invocation)) => send(&invocation),
            Ok(Parsed::Print(text)) => Ok(text.into_bytes()),
            Err(usage) => {
                let line = usage.message.lines().next().unwrap_or_default();
                Err(Failure { line: line.strip_prefix("tgtadm: ").unwrap_or(line).to_owned(), status: usage.status, code: None })
            }
        }
    }
}

/// In single quotes, a quote of its own spelled the shell's way.
fn quoted(text: &str, always: bool) -> String {
    let harmless = |letter: char| letter.is_ascii_alphanumeric() || "-_./:,=@+%".contains(letter);
    if !always && !text.is_empty() && text.chars().all(harmless) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Writes to standard output. A reader that has gone is no reason to stop half way.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_means_what_is_sent() {
        let call = Call::new(Some("5"), Some("iscsi"))
            .plain("--op new --lun")
            .value("1")
            .option("-b", "/a b")
            .update("vendor_id", "it's")
            .pair("--user", "a b");
        assert_eq!(call.shown(), "tgtadm -C 5 --lld iscsi --op new --lun 1 -b '/a b' --params vendor_id='it'\\''s' --user='a b'");
        assert_eq!(call.words, ["-C", "5", "--lld", "iscsi", "--op", "new", "--lun", "1", "-b", "/a b", "--params", "vendor_id=it's", "--user=a b"]);
        assert_eq!(Call::new(None, None).value("$(id)").value("").shown(), "tgtadm '$(id)' ''");
    }
}

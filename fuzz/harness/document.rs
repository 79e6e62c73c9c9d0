//! `scuzzy.toml`: reading, checking, settling, planning, and writing again.

use std::path::Path;

use admin::document::plan::{Running, plan};
use admin::document::{Document, read};

/// Reads `bytes` in every way. A zero byte separates what runs from what is wanted.
pub fn run(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let (one, other) = text.split_once('\0').unwrap_or((text, ""));
    let (one, other) = (document(one), document(other));
    if let (Some(one), Some(other)) = (&one, &other) {
        converge(one, other);
        converge(other, one);
    }
}

/// A document that was accepted is the same when it was written and read again.
fn document(text: &str) -> Option<Document> {
    let document = match read::read("f", text) {
        Ok(document) => document,
        Err(problems) => {
            assert!(!problems.list.is_empty());
            let lines = text.matches('\n').count() + 1;
            for (place, problem) in &problems.list {
                assert!(!problem.message.is_empty() && !problem.message.contains('\n'), "{problem}");
                assert!(place.is_none_or(|(line, column)| line >= 1 && line <= lines && column >= 1), "{place:?} of {lines} lines");
            }
            return None;
        }
    };
    let written = document.to_toml().ok()?;
    let again = read::read("again", &written).unwrap_or_else(|problems| panic!("{problems}\n{written}"));
    assert_eq!(again, document, "{written}");
    let mut resolved = document.clone();
    resolved.resolve(Path::new("/srv"));
    Some(document)
}

/// A plan has a line for each change, and none for what is there.
fn converge(one: &Document, other: &Document) {
    let running = Running { document: one.settled(&Document::default()), ..Running::default() };
    let settled = other.settled(&running.document);
    assert_eq!(settled.settled(&running.document).sorted(), settled.clone().sorted(), "settling twice is settling once");
    for change in plan(&running, other) {
        assert!(!change.requests.is_empty() && !change.view.text.contains('\n'), "{change:?}");
    }
    let there = Running { document: settled, ..Running::default() };
    let again = plan(&there, other);
    assert!(again.is_empty(), "{again:?}");
}

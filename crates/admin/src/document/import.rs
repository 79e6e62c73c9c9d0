//! targets.conf as a document.

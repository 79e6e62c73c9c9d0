//! Option tables and the parser of command lines.

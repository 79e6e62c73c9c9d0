//! Secrets of accounts: from a file, the environment, a terminal or standard input; never from the command line, which everyone on the host can read.

use std::io::IsTerminal;

use anyhow::{Context, Result, bail};

use crate::arguments::Secret;

/// Environment variable.
const VARIABLE: &str = "SCUZZY_CHAP_SECRET";
/// Longest secret: what a text value of the login holds (RFC 7143 6.1).
const LONGEST: usize = 255;
/// Shorter ones are refused by some initiators (RFC 7143 9.2.1 asks for 96 bits).
const RECOMMENDED: usize = 12;

/// The secret of `user`.
///
/// # Errors
/// It cannot be read, or it is none.
pub fn read(source: &Secret, user: &str) -> Result<String> {
    let text = match (&source.secret_file, std::env::var(VARIABLE)) {
        (Some(path), _) => std::fs::read_to_string(path).with_context(|| format!("cannot read the secret from {}", path.display()))?,
        (None, Ok(text)) => text,
        (None, Err(_)) if std::io::stdin().is_terminal() => ask(user)?,
        (None, Err(_)) => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).context("cannot read the secret from standard input")?;
            line
        }
    };
    let secret = check(text.lines().next().unwrap_or_default(), user)?;
    if secret.len() < RECOMMENDED {
        eprintln!("scuzzy: the secret of {user} has fewer than {RECOMMENDED} characters: some initiators refuse it");
    }
    Ok(secret.to_owned())
}

fn ask(user: &str) -> Result<String> {
    let first = rpassword::prompt_password(format!("Secret of {user}: ")).context("cannot ask for the secret")?;
    let again = rpassword::prompt_password("The same again: ").context("cannot ask for the secret")?;
    if first != again {
        bail!("the two are not the same: nothing is changed");
    }
    Ok(first)
}

fn check<'a>(secret: &'a str, user: &str) -> Result<&'a str> {
    if secret.is_empty() {
        bail!("the secret of {user} is empty: give --secret-file FILE, set {VARIABLE}, or write it to standard input (1 to {LONGEST} characters)");
    }
    if secret.len() > LONGEST || secret.contains(char::is_control) {
        bail!("the secret of {user} has 1 to {LONGEST} bytes and no control characters");
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_some_letters() {
        assert!(check("a long enough secret", "u").is_ok_and(|secret| secret == "a long enough secret"));
        for bad in ["", "a\tb", &"x".repeat(256)] {
            assert!(check(bad, "u").is_err(), "{bad:?}");
        }
    }
}

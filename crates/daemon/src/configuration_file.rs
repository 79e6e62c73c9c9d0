//! Reading a `scuzzy.toml` from a disk.

use std::io::Read;
use std::path::Path;

use admin::document::{Document, read};

/// Reads and checks a file; `-` is standard input. Paths in it are meant from its folder on, and so are the files of secrets, which are read here: the
/// daemon may run as somebody who cannot.
///
/// # Errors
/// Lines for people, each with file, line and column where there are such.
pub fn load(path: &Path) -> Result<Document, String> {
    let standard_input = path == Path::new("-");
    let name = if standard_input { "standard input".into() } else { path.display().to_string() };
    let mut document = read::read(&name, &contents(path, &name)?).map_err(|problems| problems.to_string())?;
    let whole = if standard_input { std::env::current_dir().map(|folder| folder.join("-")) } else { std::path::absolute(path) };
    let whole = whole.map_err(|error| format!("{name}: {error}"))?;
    let folder = whole.parent().unwrap_or(Path::new("/"));
    document.resolve(folder);
    document.resolve_secrets(|file| first_line(&folder.join(file))).map_err(|problem| format!("{name}: {problem}"))?;
    Ok(document)
}

fn contents(path: &Path, name: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot read {name}: {error}");
    let mut bytes = Vec::new();
    // One byte more than is allowed tells that there are more.
    let limit = read::FILE_MAX + 1;
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        std::fs::File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    }
    if bytes.len() as u64 > read::FILE_MAX {
        return Err(format!("{name} is larger than {} MiB: that is no configuration", read::FILE_MAX >> 20));
    }
    String::from_utf8(bytes).map_err(|error| format!("{name}: not UTF-8 after {} bytes", error.utf8_error().valid_up_to()))
}

fn first_line(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

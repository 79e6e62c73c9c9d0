//! `cargo xtask deb`: the Debian package, from the release binaries.
//!
//! It takes the place of Debian's `tgt`: same programs, paths, unit and configuration. The same sources and binaries give the same package, byte for byte.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::test::build_release;
use crate::{process, root};

/// One tool at work; compression takes longest.
const LIMIT: Duration = Duration::from_secs(180);
/// Name of the package.
pub const NAME: &str = "scuzzy";
/// Version of tgt whose place it takes: packages that depend on tgt may ask for one.
pub const PROVIDED: &str = "1:1.0.97";
/// Programs and their folders.
const PROGRAMS: &[(&str, &str)] = &[
    ("scuzzy", "usr/bin"),
    ("tgtd", "usr/sbin"),
    ("tgtadm", "usr/sbin"),
    ("tgt-admin", "usr/sbin"),
    ("tgtimg", "usr/sbin"),
    ("tgt-setup-lun", "usr/sbin"),
];
/// Libraries that the programs may need, and their packages.
const LIBRARIES: &[(&str, &str)] = &[("libc.so.6", "libc6"), ("libm.so.6", "libc6"), ("ld-linux-", "libc6"), ("libgcc_s.so.1", "libgcc-s1")];
const MAINTAINER: &str = "Scuzzy maintainers <maintainers@scuzzy.invalid>";
const DESCRIPTION: &str = "\
user-space SCSI target that fails on command, in place of tgt
 An iSCSI target daemon (tgtd) with its tools (tgtadm, tgt-admin, tgtimg,
 tgt-setup-lun), compatible with those of the package tgt, which it replaces:
 the same commands, control socket, service and targets.conf.
 .
 Disks can be made to fail on command, exactly and repeatably: scuzzy(1).";

/// Builds the package and prints where it is.
pub fn run() -> Result<bool> {
    build_release()?;
    let package = build(&folder())?;
    println!("{}", package.display());
    Ok(true)
}

/// Where packages are built.
pub fn folder() -> PathBuf {
    root().join("target/debian")
}

/// The package that was built there.
pub fn package() -> Result<PathBuf> {
    Ok(folder().join(file_name()?))
}

fn file_name() -> Result<String> {
    Ok(format!("{NAME}_{}_{}.deb", env!("CARGO_PKG_VERSION"), architecture()?))
}

/// Builds the package of the release binaries in `folder`.
pub fn build(folder: &Path) -> Result<PathBuf> {
    let stage = Stage { root: folder.join("root"), date: last_commit()? };
    if stage.root.exists() {
        std::fs::remove_dir_all(&stage.root)?;
    }
    stage.programs()?;
    stage.pages()?;
    stage.completions()?;
    stage.others()?;
    stage.control()?;
    stage.date()?;
    let package = folder.join(file_name()?);
    let mut command = Command::new("dpkg-deb");
    command.args(["--root-owner-group", "-Zxz", "--build"]).arg(&stage.root).arg(&package).env("SOURCE_DATE_EPOCH", stage.date.to_string());
    process::run(&mut command, LIMIT)?;
    Ok(package)
}

/// Where this Debian keeps units. Until 12 it is `/lib`, as in the package that is replaced: a file that two packages know by two names is lost when one of
/// them goes.
pub fn unit_folder() -> &'static str {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let version = release.lines().find_map(|line| line.strip_prefix("VERSION_ID=")?.trim_matches('"').parse::<f32>().ok());
    let debian = release.lines().any(|line| line == "ID=debian");
    if debian && version.is_some_and(|version| version < 13.0) { "lib/systemd/system" } else { "usr/lib/systemd/system" }
}

/// What the package will hold.
struct Stage {
    root: PathBuf,
    /// Seconds since 1970 that every file gets.
    date: u64,
}

impl Stage {
    fn write(&self, path: &str, bytes: &[u8], mode: u32) -> Result<PathBuf> {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().context("a path has a folder")?)?;
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode))?;
        Ok(path)
    }

    fn compressed(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let path = self.write(path, bytes, 0o644)?;
        process::run(Command::new("gzip").args(["-9", "-n", "-f"]).arg(path), LIMIT).map(drop)
    }

    fn programs(&self) -> Result<()> {
        for (name, folder) in PROGRAMS {
            let path = self.write(&format!("{folder}/{name}"), &std::fs::read(binary(name)).context("no release binaries")?, 0o755)?;
            process::run(Command::new("strip").args(["--strip-unneeded", "--remove-section=.comment", "--remove-section=.note"]).arg(path), LIMIT)?;
        }
        Ok(())
    }

    fn pages(&self) -> Result<()> {
        let pages = self.root.with_file_name("pages");
        if pages.exists() {
            std::fs::remove_dir_all(&pages)?;
        }
        process::run(Command::new(binary("scuzzy")).arg("man").arg(&pages), LIMIT)?;
        for entry in std::fs::read_dir(&pages)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let section = name.rsplit('.').next().unwrap_or_default();
            self.compressed(&format!("usr/share/man/man{section}/{name}"), &std::fs::read(&path)?)?;
        }
        Ok(())
    }

    fn completions(&self) -> Result<()> {
        for (name, _) in PROGRAMS {
            for (shell, path) in [
                ("bash", format!("usr/share/bash-completion/completions/{name}")),
                ("zsh", format!("usr/share/zsh/vendor-completions/_{name}")),
                ("fish", format!("usr/share/fish/vendor_completions.d/{name}.fish")),
            ] {
                let script = process::run(Command::new(binary("scuzzy")).args(["completions", shell, name]), LIMIT)?;
                self.write(&path, script.as_bytes(), 0o644)?;
            }
        }
        Ok(())
    }

    /// Units, configuration, documents, and the scripts of the package.
    fn others(&self) -> Result<()> {
        let source = |path: &str| std::fs::read(root().join("packaging").join(path)).with_context(|| path.to_owned());
        for unit in ["tgt.service", "tgt.socket"] {
            self.write(&format!("{}/{unit}", unit_folder()), &source(&format!("systemd/{unit}"))?, 0o644)?;
        }
        self.write("etc/tgt/targets.conf", &source("debian/targets.conf")?, 0o644)?;
        std::fs::create_dir_all(self.root.join("etc/tgt/conf.d"))?;
        self.write(&format!("usr/share/doc/{NAME}/copyright"), &source("debian/copyright")?, 0o644)?;
        self.compressed(&format!("usr/share/doc/{NAME}/changelog"), changelog(self.date)?.as_bytes())?;
        for script in ["postinst", "prerm", "postrm"] {
            self.write(&format!("DEBIAN/{script}"), &source(&format!("debian/{script}"))?, 0o755)?;
        }
        self.write("DEBIAN/conffiles", b"/etc/tgt/targets.conf\n", 0o644).map(drop)
    }

    fn control(&self) -> Result<()> {
        let files = self.files()?;
        let sums = process::run(Command::new("md5sum").args(&files).current_dir(&self.root), LIMIT)?;
        self.write("DEBIAN/md5sums", sums.as_bytes(), 0o644)?;
        let sizes = files.iter().map(|file| Ok(std::fs::metadata(self.root.join(file))?.len().div_ceil(1024)));
        let size = sizes.sum::<Result<u64>>()?;
        let control = format!(
            "Package: {NAME}\nVersion: {}\nArchitecture: {}\nMaintainer: {MAINTAINER}\nInstalled-Size: {size}\nDepends: {}\nProvides: tgt (= {PROVIDED})\n\
             Conflicts: tgt\nReplaces: tgt\nSection: net\nPriority: optional\nDescription: {DESCRIPTION}\n",
            env!("CARGO_PKG_VERSION"),
            architecture()?,
            self.depends()?,
        );
        self.write("DEBIAN/control", control.as_bytes(), 0o644).map(drop)
    }

    /// Regular files of the package, sorted, but for its own control files.
    fn files(&self) -> Result<Vec<String>> {
        let list = process::run(
            Command::new("find").args(["-type", "f", "-not", "-path", "./DEBIAN/*", "-printf", "%P\\n"]).current_dir(&self.root),
            LIMIT,
        )?;
        let mut files: Vec<String> = list.lines().map(str::to_owned).collect();
        files.sort();
        Ok(files)
    }

    /// The libraries that the programs name, libc with the newest of its symbols' versions.
    fn depends(&self) -> Result<String> {
        let mut packages = Vec::new();
        let mut newest = Vec::new();
        for (name, folder) in PROGRAMS {
            let path = self.root.join(folder).join(name);
            for library in needed(&process::run(Command::new("objdump").arg("-p").arg(&path), LIMIT)?) {
                let known = LIBRARIES.iter().find(|(prefix, _)| library.starts_with(prefix)).map(|(_, package)| *package);
                packages.push(known.with_context(|| format!("{name} needs {library}, and no package is known that has it"))?);
            }
            newest = newest.max(libc_version(&process::run(Command::new("objdump").arg("-T").arg(&path), LIMIT)?));
        }
        packages.sort_unstable();
        packages.dedup();
        ensure!(!newest.is_empty(), "no version of libc found in the programs");
        let version: Vec<String> = newest.iter().map(u32::to_string).collect();
        let named = |package: &str| if package == "libc6" { format!("libc6 (>= {})", version.join(".")) } else { package.to_owned() };
        let mut depends: Vec<String> = packages.into_iter().map(named).collect();
        depends.push("init-system-helpers (>= 1.54~)".into());
        Ok(depends.join(", "))
    }

    /// Every file and folder gets the date of the last commit, and folders the mode that they have everywhere.
    fn date(&self) -> Result<()> {
        process::run(Command::new("find").arg(&self.root).args(["-type", "d", "-exec", "chmod", "0755", "{}", "+"]), LIMIT)?;
        let date = format!("@{}", self.date);
        process::run(Command::new("find").arg(&self.root).args(["-exec", "touch", "-h", "-d", &date, "{}", "+"]), LIMIT).map(drop)
    }
}

fn binary(name: &str) -> PathBuf {
    root().join("target/release").join(name)
}

fn architecture() -> Result<String> {
    Ok(process::run(Command::new("dpkg").arg("--print-architecture"), LIMIT)?.trim().to_owned())
}

/// Time of the last commit, or what the environment says.
fn last_commit() -> Result<u64> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => process::run(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()), LIMIT)?,
    };
    text.trim().parse().with_context(|| format!("'{}' is no time", text.trim()))
}

/// The newest section of the project's changelog, in Debian's form.
fn changelog(date: u64) -> Result<String> {
    let text = std::fs::read_to_string(root().join("CHANGELOG.md"))?;
    let date = process::run(Command::new("date").args(["-u", "-R", "-d", &format!("@{date}")]).env("LC_ALL", "C"), LIMIT)?;
    let mut lines = Vec::new();
    for line in text.lines().skip_while(|line| !line.starts_with("## ")).skip(1).take_while(|line| !line.starts_with("## ")) {
        match (line.strip_prefix("- "), line.strip_prefix("  ")) {
            (Some(item), _) => lines.push(format!("  * {item}")),
            (None, Some(rest)) => lines.push(format!("    {rest}")),
            (None, None) => {}
        }
    }
    if lines.is_empty() {
        bail!("CHANGELOG.md has no entry");
    }
    Ok(format!("{NAME} ({}) unstable; urgency=medium\n\n{}\n\n -- {MAINTAINER}  {date}", env!("CARGO_PKG_VERSION"), lines.join("\n")))
}

/// Libraries in `objdump -p`.
fn needed(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("NEEDED")).map(str::trim)
}

/// Newest `GLIBC_x.y` in `objdump -T`, as numbers; empty when there is none.
fn libc_version(text: &str) -> Vec<u32> {
    let versions = text.split(|letter: char| letter.is_whitespace() || letter == '(' || letter == ')').filter_map(|word| word.strip_prefix("GLIBC_"));
    versions.filter_map(|version| version.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>()).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_their_versions_are_read() {
        let text = "Dynamic Section:\n  NEEDED               libgcc_s.so.1\n  NEEDED               libc.so.6\n  RUNPATH x\n";
        assert_eq!(needed(text).collect::<Vec<_>>(), ["libgcc_s.so.1", "libc.so.6"]);
        let text = "0 DF *UND* 0 (GLIBC_2.9)  a\n0 DF *UND* 0 (GLIBC_2.34) b\n0 DF *UND* 0 (GLIBC_2.3.4) c\n0 (GLIBC_PRIVATE) d\n";
        assert_eq!(libc_version(text), [2, 34]);
        assert_eq!(libc_version("nothing"), Vec::<u32>::new());
    }

    #[test]
    fn the_changelog_has_debians_form() {
        let text = changelog(0).expect("made");
        assert!(text.starts_with("scuzzy (") && text.contains("\n  * `scuzzy serve`"), "{text}");
        assert!(text.ends_with(">  Thu, 01 Jan 1970 00:00:00 +0000\n"), "{text}");
    }
}

//! Real clients against `scuzzy serve`: libiscsi's tools, QEMU's block layer, the load generator; and the edges of the command line.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::live;
use super::server::{Server, binary};
use crate::process::{self, Scratch};
use crate::report::Report;

/// One client call.
const LIMIT: Duration = Duration::from_secs(60);
/// Bytes of the images that travel.
const IMAGE: usize = 24 << 20;
/// Secret of the CHAP checks.
const SECRET: &str = "a-secret-of-16-b";

/// All of them.
pub fn run(report: &mut Report) {
    report.check("iscsi-ls finds the target and its disk", discovery);
    report.check("iscsi-inq reads INQUIRY and every VPD page", inquiry);
    report.check("qemu-img convert and compare", qemu_img);
    report.check("qemu-io writes, reads, flushes, discards, writes zeroes", qemu_io);
    report.check("the original's rule fails writes with 3/0c02, show counts, delete heals", error_rule);
    report.check("a hung command blocks nobody else and delete lets it go on", hang_rule);
    report.check("the same seed and the same input give the same faults, on one reactor or two", same_seed);
    report.check("CHAP: the right secret gets in, a wrong one and none do not", chap);
    report.check("IPv6 portal", ipv6);
    report.check("libiscsi follows a target that moved: by address and by program, IPv4 and IPv6", moved);
    report.check("four sessions of the load generator, both drivers", load);
    report.check("digests, small and large transfers in the initiator role, both drivers", digests);
    report.check("a disk is resized and swapped under four sessions, both drivers", live::changes);
    report.check("a unit and a target that are in use go within five seconds", live::removals);
    report.check("a second daemon on one image is told who holds it", image_lock);
    report.check("mistakes give one line with the cure", mistakes);
    report.check("--run serves while a command runs and ends with its status", run_command);
    report.check("SIGTERM and SIGINT end cleanly", signals);
    report.check("--exit-with-parent", exit_with_parent);
    report.check("scuzzy demo", demo);
}

fn client(program: &str, words: &[&str]) -> Result<String> {
    process::run(Command::new(program).args(words), LIMIT)
}

fn discovery() -> Result<()> {
    let server = Server::start(&[])?;
    let output = client("iscsi-ls", &["-s", &format!("iscsi://{}", server.portal)])?;
    ensure!(output.contains(&server.target), "no {} in\n{output}", server.target);
    ensure!(output.contains("DIRECT_ACCESS"), "no disk in\n{output}");
    Ok(())
}

fn inquiry() -> Result<()> {
    let server = Server::start(&[])?;
    let output = client("iscsi-inq", &[&server.url])?;
    ensure!(output.contains("VIRTUAL-DISK"), "no product in\n{output}");
    // The tool takes page codes in decimal.
    let pages = [
        ("0", "DEVICE_IDENTIFICATION"),
        ("128", "Unit Serial Number"),
        ("131", "Association:(1) TARGET_PORT"),
        ("176", "maximum transfer length:65536"),
        ("177", "Medium Rotation Rate"),
        ("178", "lbpu:1"),
    ];
    for (page, expected) in pages {
        let output = client("iscsi-inq", &["-e", "1", "-c", page, &server.url])?;
        ensure!(output.to_lowercase().contains(&expected.to_lowercase()), "page {page}: no '{expected}' in\n{output}");
    }
    Ok(())
}

/// Bytes that look random and are the same each time.
fn write_pattern(path: &Path, length: usize) -> Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    std::fs::write(path, bytes).context("cannot write the pattern")
}

fn qemu_img() -> Result<()> {
    let folder = Scratch::new("qemu")?;
    let source = folder.path().join("source");
    write_pattern(&source, IMAGE)?;
    let source = source.to_string_lossy().into_owned();
    for words in [&["--memory", "24M"][..], &["--memory", "24M", "--block-size", "4096"]] {
        let server = Server::start(words)?;
        client("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", &source, &server.url])?;
        client("qemu-img", &["compare", "-f", "raw", "-F", "raw", &source, &server.url])?;
    }
    let image = folder.path().join("disk.img");
    std::fs::File::create(&image)?.set_len(IMAGE as u64)?;
    let server = Server::start(&[&image.to_string_lossy()])?;
    client("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", &source, &server.url])?;
    drop(server);
    ensure!(std::fs::read(&image)? == std::fs::read(&source)?, "the image differs from what was written");
    Ok(())
}

fn qemu_io() -> Result<()> {
    let server = Server::start(&["--memory", "64M"])?;
    let steps = [
        "write -P 0x5a 1M 2M",
        "flush",
        "read -P 0x5a 1M 2M",
        "discard 1M 1M",
        "read -P 0 1M 1M",
        "read -P 0x5a 2M 1M",
        "write -z 2M 512k",
        "read -P 0 2M 512k",
        "write -f -P 0x11 0 4k",
        "read -P 0x11 0 4k",
    ];
    let mut words = vec!["-f", "raw"];
    for step in steps {
        words.extend(["-c", step]);
    }
    words.push(&server.url);
    let output = client("qemu-io", &words)?;
    ensure!(!output.contains("verification failed") && !output.contains("error"), "{output}");
    Ok(())
}

const README_RULE: &str = "op=WRITE10,lba=0,len=99999999,pct=100,pause=0,repeat=0,action=CHECK_CONDITION,key=3,asc=0x0c02";

fn error_rule() -> Result<()> {
    let server = Server::start(&["--memory", "64M"])?;
    let write = || process::finish(Command::new("qemu-io").args(["-f", "raw", "-c", "write 0 4k", &server.url]), LIMIT);
    ensure!(write()?.0 == Some(0), "the disk does not work before the rule");
    server.scuzzy(&["fault", "add", "1", README_RULE])?;
    let (_, output) = write()?;
    ensure!(output.contains("failed"), "the write did not fail\n{output}");
    let shown = server.scuzzy(&["fault", "list"])?;
    ensure!(shown.contains("WRITE10") && shown.contains("CHECK_CONDITION"), "{shown}");
    let shown: serde_json::Value = serde_json::from_str(&server.scuzzy(&["fault", "list", "--json"])?)?;
    ensure!(shown.to_string().contains("\"fired\":"), "{shown}");
    let trace = server.scuzzy(&["trace"])?;
    ensure!(trace.contains("0c02") || trace.contains("0C02"), "the flight recorder has no 0c02\n{trace}");
    server.scuzzy(&["fault", "rm", "all"])?;
    let (_, output) = write()?;
    ensure!(!output.contains("failed"), "the disk is not healed\n{output}");
    Ok(())
}

fn hang_rule() -> Result<()> {
    let server = Server::start(&["--memory", "64M"])?;
    server.scuzzy(&["fault", "add", "1", "op=READ,lba=8192,len=8,action=HANG"])?;
    let mut hung = Command::new("qemu-io").args(["-f", "raw", "-c", "read 4M 4k", &server.url]).spawn()?;
    for _ in 0..5 {
        client("qemu-io", &["-f", "raw", "-c", "read 0 4k", &server.url])?;
    }
    ensure!(hung.try_wait()?.is_none(), "the command did not hang");
    server.scuzzy(&["fault", "rm", "all"])?;
    let status = process::wait_for("the end of the hung read", Duration::from_secs(10), || hung.try_wait().ok().flatten());
    if status.is_err() {
        hung.kill().ok();
    }
    ensure!(status?.success(), "the hung read failed");
    Ok(())
}

fn same_seed() -> Result<()> {
    let mut journals = Vec::new();
    for (reactors, driver) in [("1", "uring"), ("2", "epoll"), ("1", "epoll")] {
        let server = Server::start(&["--memory", "64M", "--seed", "7", "--reactors", reactors, "--io", driver])?;
        server.scuzzy(&["fault", "add", "1", "op=WRITE,pct=30,key=3,asc=0x0c02"])?;
        let steps: Vec<String> = (0..60).map(|number| format!("write {}k 4k", number * 4)).collect();
        let words = steps.iter().flat_map(|step| ["-c", step.as_str()]);
        let (_, output) = process::finish(Command::new("qemu-io").args(["-f", "raw"]).args(words).arg(&server.url), LIMIT)?;
        let failed = output.matches("write failed").count();
        ensure!((5..40).contains(&failed), "{failed} of 60 writes failed at 30 %\n{output}");
        // Everything but the time of the decision must be equal.
        let journal = server.scuzzy(&["fault", "journal"])?;
        let words = |line: &str| line.split(' ').filter(|word| !word.starts_with("at=")).collect::<Vec<_>>().join(" ");
        journals.push(journal.lines().map(words).collect::<Vec<_>>().join("\n"));
    }
    ensure!(journals.iter().all(|journal| *journal == journals[0]), "the journals differ:\n{}\n--\n{}", journals[0], journals[1]);
    Ok(())
}

fn chap() -> Result<()> {
    let server = Server::start_with(&["--chap", "joe"], &[("SCUZZY_CHAP_SECRET", SECRET)])?;
    let with = |user: &str| server.url.replace("iscsi://", &format!("iscsi://{user}@"));
    client("iscsi-inq", &[&with(&format!("joe%{SECRET}"))])?;
    for url in [with("joe%not-the-secret-00"), with(&format!("jim%{SECRET}")), server.url.clone()] {
        let (status, output) = process::finish(Command::new("iscsi-inq").arg(&url), LIMIT)?;
        ensure!(status != Some(0), "{url} got in\n{output}");
    }
    Ok(())
}

fn ipv6() -> Result<()> {
    let server = Server::start(&["--portal", "[::1]:0"])?;
    ensure!(server.portal.starts_with("127.0.0.1:"), "the first portal is {}", server.portal);
    let output = client("iscsi-ls", &[&format!("iscsi://{}", server.portal)])?;
    ensure!(output.contains("[::1]"), "SendTargets does not tell the IPv6 portal\n{output}");
    Ok(())
}

fn load() -> Result<()> {
    let folder = Scratch::new("iload")?;
    let program = live::load_generator(folder.path())?;
    for driver in ["uring", "epoll"] {
        let server = Server::start(&["--memory", "64M", "--io", driver])?;
        for rw in ["randread", "randwrite"] {
            run_load(&program, &server, &[&format!("rw={rw}"), "bs=4096", "qd=32", "sessions=4", "secs=1"])?;
        }
    }
    Ok(())
}

/// libiscsi of the distribution has no data digests: our own initiator role has.
fn digests() -> Result<()> {
    for driver in ["uring", "epoll"] {
        let server = Server::start(&["--memory", "64M", "--io", driver])?;
        for words in [["rw=randrw", "bs=4096", "qd=32"], ["rw=read", "bs=262144", "qd=8"], ["rw=write", "bs=262144", "qd=8"]] {
            run_load(&binary("scuzzy-load"), &server, &[&words[..], &["hdigest=1", "ddigest=1", "sessions=2", "secs=0.5"]].concat())?;
        }
    }
    Ok(())
}

fn run_load(program: &Path, server: &Server, words: &[&str]) -> Result<()> {
    let output = process::run(Command::new(program).arg(&server.url).args(words), LIMIT)?;
    let said: serde_json::Value = serde_json::from_str(output.trim()).with_context(|| output.clone())?;
    let number = |name: &str| said[name].as_f64().with_context(|| format!("no '{name}' in {said}"));
    ensure!(number("errors")? == 0.0 && number("iops")? > 0.0, "{words:?}: {said}");
    Ok(())
}

fn image_lock() -> Result<()> {
    let folder = Scratch::new("lock")?;
    let image = folder.path().join("disk.img");
    std::fs::File::create(&image)?.set_len(1 << 20)?;
    let image = image.to_string_lossy().into_owned();
    let first = Server::start(&[&image])?;
    let words = ["serve", &image, "--portal", "127.0.0.1:0", "--control", &folder.path().join("control").to_string_lossy()].map(str::to_owned);
    let (status, output) = process::finish(Command::new(binary("scuzzy")).args(&words), LIMIT)?;
    ensure!(status.is_some_and(|status| status != 0), "a second daemon opened the image\n{output}");
    ensure!(output.contains(&first.id().to_string()), "the message does not name process {}\n{output}", first.id());
    Ok(())
}

fn mistakes() -> Result<()> {
    let folder = Scratch::new("mistakes")?;
    let server = Server::start(&[])?;
    let control = folder.path().join("control").to_string_lossy().into_owned();
    let absent = folder.path().join("absent.img").to_string_lossy().into_owned();
    let cases: [(&[&str], &str); 5] = [
        (&["--portal", &server.portal], "in use"),
        (&["--portal", "127.0.0.1:0", &absent], "absent.img"),
        (&["--portal", "127.0.0.1:0", "--memory", "12Q"], "12Q"),
        (&["--portal", "127.0.0.1:0", "--block-size", "1000"], "1000"),
        (&["--portal", "not an address"], "not an address"),
    ];
    for (words, expected) in cases {
        let mut command = Command::new(binary("scuzzy"));
        command.arg("serve").args(["--control", &control]).args(words);
        let (status, output) = process::finish(&mut command, LIMIT)?;
        ensure!(status.is_some_and(|status| status != 0), "{words:?} was accepted\n{output}");
        ensure!(output.contains(expected), "{words:?}: no '{expected}' in\n{output}");
        ensure!(!output.contains("panicked"), "{output}");
    }
    Ok(())
}

/// The target is told to be elsewhere; the client must end up at the other daemon, whose disk has another name.
fn moved() -> Result<()> {
    let (old, new) = (Server::start(&[])?, Server::start(&["--portal", "127.0.0.2:0", "--portal", "[::1]:0"])?);
    new.tgtadm(&["--mode", "lu", "--op", "update", "--tid", "1", "--lun", "1", "--params", "product_id=MOVED"])?;
    let set = |name: &str, value: &str| old.tgtadm(&["--mode", "target", "--op", "update", "--tid", "1", "--name", name, "--value", value]);
    let shown = new.tgtadm(&["--mode", "portal", "--op", "show"])?;
    let portal = |begin: &str| -> Result<SocketAddr> {
        let text = shown.lines().find_map(|line| line.strip_prefix("Portal: ")?.split(',').next().filter(|portal| portal.starts_with(begin)));
        Ok(text.with_context(|| format!("no portal {begin} in\n{shown}"))?.parse()?)
    };
    ensure!(client("iscsi-inq", &[&old.url])?.contains("VIRTUAL-DISK"), "the old place does not serve");
    for (place, reason) in [(portal("127.0.0.2")?, "Temporary"), (portal("[::1]")?, "Temporary")] {
        let address = if place.is_ipv6() { format!("[{}]", place.ip()) } else { place.ip().to_string() };
        for (name, value) in [("RedirectAddress", address.as_str()), ("RedirectPort", &place.port().to_string()), ("RedirectReason", reason)] {
            set(name, value)?;
        }
        ensure!(client("iscsi-inq", &[&old.url])?.contains("MOVED"), "{reason} to {place} by address was not followed");
        ensure!(client("iscsi-ls", &[&format!("iscsi://{}", old.portal)])?.contains(&place.to_string()), "discovery does not tell {place}");
    }
    // libiscsi follows for a while only; what it says shows that it was told.
    set("RedirectReason", "Permanent")?;
    let (_, output) = process::finish(Command::new("iscsi-inq").arg(&old.url), LIMIT)?;
    ensure!(output.contains("moved permanently"), "{output}");
    let folder = Scratch::new("moved")?;
    let program = folder.path().join("where");
    set("RedirectCallback", &program.to_string_lossy())?;
    for (place, reason) in [(portal("127.0.0.2")?, "Temporary"), (portal("[::1]")?, "Temporary")] {
        std::fs::write(&program, format!("#!/bin/sh\necho '{place}:{reason}'\n"))?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700))?;
        ensure!(client("iscsi-inq", &[&old.url])?.contains("MOVED"), "{reason} to {place} by program was not followed");
    }
    std::fs::write(&program, "#!/bin/sh\nexit 1\n")?;
    let (status, output) = process::finish(Command::new("iscsi-inq").arg(&old.url), LIMIT)?;
    ensure!(status != Some(0) && !output.contains("VIRTUAL-DISK"), "a broken program let the login in\n{output}");
    Ok(())
}

fn run_command() -> Result<()> {
    let serve = |command: &str| {
        let mut child = Command::new(binary("scuzzy"));
        child.args(["serve", "--portal", "127.0.0.1:0", "--run", command]);
        process::finish(&mut child, LIMIT)
    };
    let (status, output) = serve("iscsi-inq {url}")?;
    ensure!(status == Some(0) && output.contains("VIRTUAL-DISK"), "{status:?}\n{output}");
    let (status, output) = serve("exit 7")?;
    ensure!(status == Some(7), "{status:?}\n{output}");
    Ok(())
}

fn signals() -> Result<()> {
    let mut server = Server::start(&[])?;
    let status = server.terminate()?;
    ensure!(status == Some(0), "SIGTERM: {status:?}");
    let server = Server::start(&[])?;
    let id = server.id().to_string();
    client("kill", &["-INT", &id])?;
    process::wait_for("the end after SIGINT", Duration::from_secs(10), || {
        let state = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        state.contains(") Z ").then_some(())
    })
}

fn exit_with_parent() -> Result<()> {
    let folder = Scratch::new("parent")?;
    let ready = folder.path().join("ready");
    let script = format!(
        "{} serve --portal 127.0.0.1:0 --exit-with-parent --control {} --ready-file {} & for i in $(seq 100); do [ -s {} ] && exit; sleep 0.1; done; exit 1",
        binary("scuzzy").display(),
        folder.path().join("control").display(),
        ready.display(),
        ready.display()
    );
    process::run(Command::new("sh").args(["-c", &script]), LIMIT)?;
    let said: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&ready)?)?;
    let id = said["pid"].as_u64().context("no pid in the ready file")?;
    process::wait_for("the daemon's end after its parent's", Duration::from_secs(10), || (!Path::new(&format!("/proc/{id}")).exists()).then_some(()))
}

fn demo() -> Result<()> {
    let output = process::run(Command::new(binary("scuzzy")).arg("demo"), Duration::from_secs(10))?;
    for expected in ["0c02", "WRITE ERROR - AUTO REALLOCATION FAILED"] {
        if !output.to_lowercase().contains(&expected.to_lowercase()) {
            bail!("no '{expected}' in\n{output}");
        }
    }
    Ok(())
}

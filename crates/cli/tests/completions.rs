//! The completions of bash as bash runs them, against a running daemon.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const SCUZZY: &str = env!("CARGO_BIN_EXE_scuzzy");
const TGTD: &str = env!("CARGO_BIN_EXE_tgtd");
const TGTADM: &str = env!("CARGO_BIN_EXE_tgtadm");

/// Sets what bash sets, calls the function, and prints what it offers.
const DRIVER: &str = r#"
source "$1"
COMP_LINE=$2 COMP_POINT=${#2} COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
handler=$(complete -p "${2%% *}") || exit 9
[[ $handler =~ -F\ ([^ ]+) ]] && "${BASH_REMATCH[1]}" "${2%% *}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// A daemon with two targets, and a folder with the scripts; both go with the value.
struct Scene {
    folder: PathBuf,
    daemon: Child,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let folder = std::env::temp_dir().join(format!("scuzzy-completions-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        for program in ["tgtd", "tgtadm", "tgt-admin", "tgtimg", "tgt-setup-lun", "scuzzy"] {
            let script = Command::new(SCUZZY).args(["completions", "bash", program]).output().expect("runs");
            assert!(script.status.success());
            std::fs::write(folder.join(program), script.stdout).expect("writes");
        }
        let words = ["-f", "-C", "3", "--reactors", "1", "--iscsi", "portal=127.0.0.1:0"];
        let daemon = Command::new(TGTD).args(words).env("TGT_IPC_SOCKET", folder.join("ipc")).stderr(Stdio::null()).spawn().expect("starts");
        let scene = Scene { folder, daemon };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !scene.tgtadm("--mode sys --op show") {
            assert!(std::time::Instant::now() < deadline, "the daemon does not answer");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(scene.tgtadm("--mode target --op new --tid 1 --targetname iqn.2026-11.org.example:one"));
        assert!(scene.tgtadm("--mode target --op new --tid 12 --targetname iqn.2026-11.org.example:other"));
        assert!(scene.tgtadm("--mode logicalunit --op new --tid 12 --lun 5 --bstype memory --backing-store 1M"));
        scene
    }

    fn tgtadm(&self, line: &str) -> bool {
        let words = ["-C", "3"].into_iter().chain(line.split(' '));
        let output = Command::new(TGTADM).args(words).env("TGT_IPC_SOCKET", self.folder.join("ipc")).output().expect("runs");
        output.status.success()
    }

    /// What is offered at the end of the line.
    fn offered(&self, line: &str) -> Vec<String> {
        let program = line.split(' ').next().expect("a word");
        let tools = Path::new(TGTADM).parent().expect("a folder");
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").expect("PATH"));
        let mut command = Command::new("bash");
        command.args(["--norc", "-c", DRIVER, "bash"]).arg(self.folder.join(program)).arg(line);
        let output = command.current_dir(&self.folder).env("PATH", path).env("TGT_IPC_SOCKET", self.folder.join("ipc")).output().expect("runs");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && errors.is_empty(), "{line}: {errors}");
        let mut offered: Vec<String> = String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect();
        offered.sort();
        offered
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn bash_completes_options_words_and_what_the_daemon_has() {
    let scene = Scene::new("words");
    std::fs::write(scene.folder.join("disk 1.img"), []).expect("writes");
    let name = "iqn.2026-11.org.example";
    let cases: &[(&str, &[&str])] = &[
        ("tgtadm --mod", &["--mode"]),
        ("tgtadm --bs", &["--bsoflags", "--bsopts", "--bstype"]),
        ("tgtadm --mode log", &["logicalunit"]),
        ("tgtadm --mode=log", &["logicalunit"]),
        ("tgtadm --mode target --op u", &["unbind", "update"]),
        ("tgtadm -m lld -o st", &["start", "stop"]),
        ("tgtadm --mode tgt --op st", &["stat"]),
        ("tgtadm --op st", &["start", "stat", "stop"]),
        ("tgtadm --mode logicalunit --op new --bstype r", &["rdwr"]),
        ("tgtadm --device-type c", &["cd", "changer"]),
        ("tgtadm --bsoflags sync", &["sync", "sync:direct"]),
        ("tgtadm --bsoflags sync:", &["direct"]),
        ("tgtadm -C 3 --mode target --op delete --tid ", &["1", "12"]),
        ("tgtadm --control-port=3 --tid=", &["1", "12"]),
        ("tgtadm -C 3 --tid 12 --lun ", &["0", "5"]),
        ("tgtadm -C 4 --tid ", &[]),
        ("tgtadm --value ", &[]),
        ("tgtadm --backing-store di", &["1.img", "disk"]),
        ("tgt-admin -C 3 --delete ", &["ALL", "help", "iqn.2026-11.org.example:one", "iqn.2026-11.org.example:other"]),
        ("tgt-admin -C 3 --update=A", &["ALL"]),
        ("tgt-admin --exe", &["--execute"]),
        ("tgtimg --op ", &["new", "show"]),
        ("tgtimg -Y t", &["tape"]),
        ("tgtd --io u", &["uring"]),
        (
            "tgt-setup-lun ",
            &["--blocksize", "--bstype", "--control-port", "--device", "--help", "--lld", "--name", "-B", "-C", "-b", "-d", "-h", "-n", "-t", "ALL"],
        ),
    ];
    for (line, wanted) in cases {
        assert_eq!(scene.offered(line), *wanted, "{line}");
    }
    // Bash cuts at the colon: only what follows it is offered.
    assert_eq!(scene.offered(&format!("tgt-admin -C 3 --offline {name}:")), ["one", "other"]);
    assert_eq!(scene.offered(&format!("tgt-admin -C 3 --offline={name}:ot")), ["other"]);
    assert_eq!(scene.offered("tgt-admin -C 3 --ready iqn.2"), [format!("{name}:one"), format!("{name}:other")]);
}

#[test]
fn every_store_of_the_daemon_is_offered() {
    let scene = Scene::new("stores");
    let output = Command::new(TGTADM)
        .args(["-C", "3", "--mode", "sys", "--op", "show"])
        .env("TGT_IPC_SOCKET", scene.folder.join("ipc"))
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let stores = text.lines().skip_while(|line| *line != "Backing stores:").skip(1).take_while(|line| line.starts_with("    "));
    let mut stores: Vec<String> = stores.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    stores.sort();
    assert_eq!(scene.offered("tgtadm --bstype "), stores);
}

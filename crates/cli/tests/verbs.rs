//! The verbs of `scuzzy` against a real daemon: what one does is seen through another door, what it prints for programs keeps its shape, what it refuses it explains.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use admin::request::{FaultSelection, PortalRequest, Request, UnitNew, UnitSwap};
use serde_json::Value;

// The initiator of the demonstration: a session that lasts.
#[allow(dead_code)]
#[path = "../src/initiator.rs"]
mod initiator;

const SCUZZY: &str = env!("CARGO_BIN_EXE_scuzzy");
const TGTD: &str = env!("CARGO_BIN_EXE_tgtd");
const TGTADM: &str = env!("CARGO_BIN_EXE_tgtadm");
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const ONE: &str = "iqn.2026-11.org.example:one";

/// A `tgtd` in a folder of its own; both go at the end.
struct Daemon {
    child: Child,
    folder: PathBuf,
}

impl Daemon {
    fn start(name: &str) -> Daemon {
        let folder = std::env::temp_dir().join(format!("scuzzy-verbs-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        let mut command = Command::new(TGTD);
        command.args(["-f", "--iscsi", "portal=127.0.0.1:0", "--reactors", "1"]).current_dir(&folder).env("TGT_IPC_SOCKET", folder.join("ipc"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        let daemon = Daemon { child, folder };
        wait_for("the start", || daemon.run("portal list").status.success());
        daemon
    }

    /// `scuzzy`, which finds the daemon as `tgtadm` does: no socket is named.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(SCUZZY);
        command.args(line.split_whitespace()).current_dir(&self.folder).env("XDG_RUNTIME_DIR", &self.folder).stdin(Stdio::null());
        command.env("TGT_IPC_SOCKET", self.folder.join("ipc")).env_remove("SCUZZY_CHAP_SECRET").env_remove("SCUZZY_CONTROL");
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().expect("runs")
    }

    /// What a verb that succeeds prints.
    fn done(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.done(&format!("{line} --json"))).expect("JSON")
    }

    /// The one line of a verb that is refused.
    fn refused(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(1), "{line}: {}", text(&output.stdout));
        assert!(output.stdout.is_empty());
        let complaint = text(&output.stderr);
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        complaint.trim_end().strip_prefix("scuzzy: ").expect("says who").to_owned()
    }

    /// The other door.
    fn tgtadm(&self, line: &str) -> String {
        let mut command = Command::new(TGTADM);
        let output = command.args(line.split_whitespace()).env("TGT_IPC_SOCKET", self.folder.join("ipc")).output().expect("runs");
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn shown(&self) -> String {
        self.tgtadm("--mode target --op show")
    }

    fn with_secret(&self, line: &str, secret: &str) -> Output {
        let mut child = self.command(line).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        child.stdin.take().expect("piped").write_all(secret.as_bytes()).expect("writes");
        child.wait_with_output().expect("ends")
    }

    fn portal(&self) -> String {
        self.json("portal list")[0]["address"].as_str().expect("address").to_owned()
    }

    fn log_in(&self) -> initiator::Session {
        let portal = self.portal().parse().expect("address");
        initiator::Session::open(portal, "iqn.2026-11.org.example:host", ONE, 1).expect("logs in")
    }

    /// A target with a disk in memory that lets everybody in.
    fn one(&self) {
        self.done(&format!("target add {ONE} --allow ALL"));
        self.done("unit add :one --memory 16M");
    }

    fn image(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::File::create(&path).and_then(|file| file.set_len(8 << 20)).expect("image");
        path
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a program that goes on prints, line by line.
struct Lines(Receiver<String>);

impl Lines {
    fn of(child: &mut Child) -> Lines {
        let (sender, receiver) = channel();
        let out = BufReader::new(child.stdout.take().expect("piped"));
        // Ends with the program, or when nobody listens: then the program's next line finds no reader.
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Lines(receiver)
    }

    fn next(&self) -> String {
        self.0.recv_timeout(PATIENCE).expect("a line")
    }
}

/// Names of the members of an object, in order.
fn members(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// Does a login with these credentials (`user%secret@`, or nothing) reach the unit?
fn reaches(daemon: &Daemon, credentials: &str) -> bool {
    let url = format!("iscsi://{credentials}{}/{ONE}/1", daemon.portal());
    Command::new("iscsi-inq").arg(url).output().expect("iscsi-inq of libiscsi-bin is needed").status.success()
}

#[test]
fn targets_are_made_changed_and_removed() {
    let daemon = Daemon::start("target");
    assert_eq!(daemon.done("target list"), "no targets: make one with `scuzzy target add NAME`\n");
    let line = format!("target add {ONE} --allow 127.0.0.1 --initiator iqn.2026-11.* --set nop_interval=5");
    assert_eq!(daemon.done(&line), format!("target 1: {ONE}, allowed: 127.0.0.1 and 1 more\n"));
    daemon.done("target add iqn.2026-11.org.example:Two --tid 7");
    let shown = daemon.shown();
    for part in [&format!("Target 1: {ONE}\n"), "        127.0.0.1\n", "iqn.2026-11.*", "Target 7: iqn.2026-11.org.example:two\n"] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    let table = daemon.done("target list");
    assert_eq!(table.lines().next(), Some("TID  NAME                         STATE  UNITS  SIZE  SESSIONS  ALLOWED"));
    assert!(table.contains("  7  iqn.2026-11.org.example:two  ready      0   0 B         0  nobody\n"), "{table}");

    daemon.done("target set :two state=offline MaxBurstLength=65536");
    assert!(daemon.tgtadm("--mode target --op show --tid 7").contains("MaxBurstLength=65536"));
    assert!(daemon.shown().contains("State: offline"));
    assert!(daemon.done("target show 7").contains("state     offline\n"));
    assert_eq!(daemon.done("target add iqn.2026-11.org.example:three"), "target 2: iqn.2026-11.org.example:three, allowed: nobody\n");

    assert_eq!(
        daemon.done("target rm 7 :three"),
        "target 7 (iqn.2026-11.org.example:two) is removed\ntarget 2 (iqn.2026-11.org.example:three) is removed\n"
    );
    assert!(!daemon.shown().contains("Target 7"));
}

#[test]
fn a_target_with_sessions_goes_by_force_only() {
    let daemon = Daemon::start("force");
    daemon.one();
    let _session = daemon.log_in();
    assert_eq!(daemon.refused("target rm :one"), "target 1 has 1 session(s): close them first, or use --force");
    daemon.done("target rm :one --force");
    assert_eq!(daemon.shown(), "");
}

#[test]
fn a_target_is_made_wholly_or_not_at_all() {
    let daemon = Daemon::start("whole");
    // The rule is there twice: the second is refused when the target exists already.
    assert_eq!(daemon.refused(&format!("target add {ONE} --allow ALL --allow ALL")), "target 1 lets `ALL` in already");
    assert_eq!(daemon.shown(), "");
    daemon.one();
    assert_eq!(daemon.refused("acl add 1 192.0.2.1 ALL"), "target 1 lets `ALL` in already");
    assert_eq!(daemon.json("acl list").as_array().map(Vec::len), Some(1));
    let taken = daemon.portal();
    daemon.refused(&format!("portal add 127.0.0.1:0 {taken}"));
    assert_eq!(daemon.json("portal list").as_array().map(Vec::len), Some(1));
}

#[test]
fn names_may_be_short_but_not_ambiguous() {
    let daemon = Daemon::start("names");
    daemon.one();
    daemon.done("target add iqn.2026-11.com.example:one");
    assert_eq!(daemon.refused("target show :one"), format!("`:one` is the end of several names: 1 ({ONE}), 2 (iqn.2026-11.com.example:one)"));
    assert_eq!(daemon.json("target show org.example:one")["tid"], 1);
    assert_eq!(daemon.json("unit show org.example:one/1")["lun"], 1);
    assert!(daemon.refused("unit show one/1").contains("several names"));
    assert!(daemon.done("fault add com.example:one/3 op=READ10,action=BUSY").starts_with("rule 0: target 2 unit 3: "));
}

#[test]
fn units_are_added_changed_and_removed() {
    let daemon = Daemon::start("unit");
    daemon.done(&format!("target add {ONE} --allow ALL"));
    assert_eq!(daemon.done("unit list"), "no units: add one with `scuzzy unit add TARGET PATH`\n");
    let image = daemon.image("a.img");
    let added = daemon.done("unit add :one a.img --read-only --sync --set vendor_id=ACME");
    assert_eq!(added, format!("unit 1/1: disk, 8 MiB, rdwr {}\n", image.display()));
    let shown = daemon.shown();
    for part in ["Readonly: Yes", &format!("Backing store path: {}", image.display()), "Backing store flags: sync"] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    assert_eq!(daemon.done("unit add :one --memory 1.5M --thin --lun 5 --block-size 4096"), "unit 1/5: disk, 1.5 MiB, memory\n");
    assert_eq!(daemon.done("unit add :one --null"), "unit 1/2: disk, 1 TiB, null\n");
    assert_eq!(daemon.done("unit add :one --removable"), "unit 1/3: disk, no medium\n");
    let table = daemon.done("unit list :one");
    for line in [
        "UNIT  TYPE     SIZE  BLOCK  STORE   STATE    FLAGS           PATH".to_owned(),
        format!("1/1   disk    8 MiB    512  rdwr    online   read-only,sync  {}", image.display()),
        "1/5   disk  1.5 MiB   4096  memory  online   thin            -".to_owned(),
        "1/3   disk      0 B    512  rdwr    offline  removable       no medium".to_owned(),
    ] {
        assert!(table.lines().any(|found| found == line), "{line} is missing in\n{table}");
    }

    daemon.done("unit set 1/1 readonly=off product_id=BOX scsi_sn=S1");
    let shown = daemon.shown();
    assert!(shown.contains("SCSI SN: S1") && !shown.contains("Readonly: Yes"), "{shown}");
    let second = daemon.image("b.img");
    daemon.done("unit set 1/3 path=b.img");
    assert!(daemon.shown().contains(&format!("Backing store path: {}", second.display())));
}

#[test]
fn what_an_initiator_sees_follows_the_units() {
    let daemon = Daemon::start("seen");
    daemon.done(&format!("target add {ONE} --allow ALL"));
    daemon.done("unit add 1 --memory 16M --set product_id=BOX-ONE");
    let url = format!("iscsi://{}/{ONE}/1", daemon.portal());
    let inquiry = || text(&Command::new("iscsi-inq").arg(&url).output().expect("iscsi-inq of libiscsi-bin is needed").stdout);
    assert!(inquiry().contains("Product:BOX-ONE"), "{}", inquiry());
    daemon.done("unit set 1/1 product_id=BOX-TWO");
    assert!(inquiry().contains("Product:BOX-TWO"));
    daemon.done("unit rm 1/1");
    assert!(!inquiry().contains("Product:BOX"));
    assert_eq!(daemon.done("unit list"), "no units: add one with `scuzzy unit add TARGET PATH`\n");
}

#[test]
fn rules_say_who_may_log_in() {
    let daemon = Daemon::start("acl");
    daemon.one();
    assert!(reaches(&daemon, ""));
    daemon.done("acl rm 1 ALL");
    assert_eq!(daemon.done("acl list"), "no rules: nobody may log in\n");
    assert!(!reaches(&daemon, ""));
    daemon.done("acl add :one 127.0.0.0/8 iqn.2026-11.* ::1");
    assert!(reaches(&daemon, ""));
    let shown = daemon.shown();
    assert!(shown.contains("127.0.0.0/8") && shown.contains("        iqn.2026-11.*\n"), "{shown}");
    assert!(daemon.done("acl list 1").contains("     1  iqn.2026-11.org.example:one  name     iqn.2026-11.*\n"));
    assert_eq!(daemon.refused("acl rm 1 iqn.none"), "target 1 has no rule `iqn.none`: there is iqn.2026-11.*");
    assert!(daemon.refused("acl add 1 192.0.2.0/33").ends_with("the prefix length is 0 to 32, not '33'"));
    assert!(daemon.refused("acl add 1 somebody").starts_with("'somebody' is neither an address (192.0.2.7,"));
    // What tgtadm takes can be taken away, and what has no shape can be forced.
    daemon.tgtadm("--mode target --op bind --tid 1 --initiator-address 10.0.0.999");
    daemon.done("acl rm 1 10.0.0.999");
    daemon.done("acl add 1 somebody --name");
    assert!(daemon.shown().contains("        somebody\n"));
}

#[test]
fn accounts_are_asked_for_where_they_are_bound() {
    let daemon = Daemon::start("account");
    daemon.one();
    let output = daemon.with_secret("account add alice", "first-long-secret\n");
    assert_eq!(text(&output.stdout), "account alice is made\n");
    daemon.done("account bind alice :one");
    assert!(daemon.shown().contains("alice"));
    let outcomes = ["", "alice%first-long-secret@", "alice%another-secret@"].map(|credentials| reaches(&daemon, credentials));
    assert_eq!(outcomes, [false, true, false]);

    std::fs::write(daemon.folder.join("secret"), "second-long-secret\nnot this\n").expect("writes");
    assert_eq!(daemon.done("account set alice --secret-file secret"), "account alice has a new secret\n");
    let outcomes = ["alice%first-long-secret@", "alice%second-long-secret@"].map(|credentials| reaches(&daemon, credentials));
    assert_eq!(outcomes, [false, true]);

    let output = daemon.command("account add bob").env("SCUZZY_CHAP_SECRET", "short").output().expect("runs");
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "scuzzy: the secret of bob has fewer than 12 characters: some initiators refuse it\n");
    daemon.done("account bind bob --discovery --outgoing");
    daemon.done("account bind alice --discovery");
    assert!(daemon.tgtadm("--mode system --op show").contains("bob (outgoing)\n"));
    assert_eq!(daemon.done("account list"), "USER   INCOMING      OUTGOING\nalice  1, discovery  -\nbob    -             discovery\n");
    daemon.done("account unbind bob --discovery --outgoing");
    daemon.done("account unbind alice 1");
    assert!(reaches(&daemon, ""));
    daemon.done("account rm alice bob");
    assert!(!daemon.tgtadm("--mode account --op show").contains("alice"));

    assert!(daemon.refused("account add carol").starts_with("the secret of carol is empty: give --secret-file FILE, set SCUZZY_CHAP_SECRET"));
    assert_eq!(daemon.refused("account bind carol 1"), "no account `carol`: there is none");
}

#[test]
fn portals_are_opened_and_closed() {
    let daemon = Daemon::start("portal");
    let line = daemon.done("portal add 127.0.0.1:0");
    let address = line.trim_end().strip_prefix("listening on ").expect("says where").to_owned();
    assert!(TcpStream::connect(&address).is_ok());
    assert!(daemon.tgtadm("--mode portal --op show").contains(&address));
    assert_eq!(daemon.refused(&format!("portal add {address}")), format!("portal {address} is open already"));
    assert_eq!(daemon.done(&format!("portal rm {address}")), format!("{address} is closed\n"));
    wait_for("the end of the portal", || TcpStream::connect(&address).is_err());
    assert_eq!(daemon.refused(&format!("portal rm {address}")), format!("no portal {address} is open"));
    assert_eq!(daemon.run("portal add 127.0.0.1:70000").status.code(), Some(2));
}

#[test]
fn sessions_are_shown_and_closed() {
    let daemon = Daemon::start("session");
    daemon.one();
    assert_eq!(daemon.done("session list"), "no sessions: nobody is logged in\n");
    let mut session = daemon.log_in();
    session.write(0, &[7; 4096], 512).expect("writes");
    let sid = daemon.json("session list")[0]["sid"].as_u64().expect("number");
    let shown = daemon.done(&format!("session show {sid}"));
    assert!(shown.contains("initiator  iqn.2026-11.org.example:host\n") && shown.contains("1/1       0   0 B       1    4 KiB"), "{shown}");
    assert!(daemon.done("target list").contains("16 MiB         1  ALL"));
    let stat = daemon.json("unit show 1/1");
    assert_eq!((&stat["stat"][0]["sid"], &stat["stat"][0]["write_done_bytes"]), (&sid.into(), &4096.into()));

    assert!(daemon.refused("session rm 9999").contains("`scuzzy session list` shows the 1 there are"));
    assert_eq!(daemon.done(&format!("session rm {sid}")), format!("session {sid} of target 1 is closed\n"));
    assert!(session.inquiry().is_err());
    wait_for("the end of the session", || daemon.tgtadm("--mode conn --op show --tid 1").is_empty());

    let _second = daemon.log_in();
    let sid = daemon.json("session list")[0]["sid"].as_u64().expect("number");
    assert_eq!(daemon.refused(&format!("session rm {sid} --connection 9")), format!("session {sid} has no such connection"));
    daemon.done(&format!("session rm {sid} --connection 0"));
    wait_for("the end of the connection", || daemon.tgtadm("--mode conn --op show --tid 1").is_empty());
}

#[test]
fn stores_tell_who_uses_them() {
    let daemon = Daemon::start("store");
    daemon.one();
    let image = daemon.image("a.img");
    std::fs::write(&image, [1; 65536]).and_then(|()| std::fs::File::options().write(true).open(&image)?.set_len(8 << 20)).expect("image");
    daemon.done("unit add 1 a.img");
    assert!(daemon.done("store list").contains("rdwr    direct,sync      1   8 MiB\n"), "{}", daemon.done("store list"));
    let store = daemon.json("store show rdwr");
    assert_eq!(members(&store), ["flags", "media", "name"]);
    let medium = &store["media"][0];
    assert_eq!(members(medium), ["allocated", "bytes", "free", "lun", "path", "tid"]);
    assert_eq!((&medium["bytes"], &medium["path"]), (&(8 << 20).into(), &image.display().to_string().into()));
    assert!(medium["allocated"].as_u64().is_some_and(|bytes| (65536..8 << 20).contains(&bytes)), "{medium}");
    assert_eq!(daemon.refused("store show floppy"), "no store `floppy`: there are memory, null, rdwr, aio");
}

#[test]
fn json_keeps_its_shape() {
    let daemon = Daemon::start("json");
    for list in ["target", "unit", "acl", "account", "session", "fault"] {
        assert_eq!(daemon.done(&format!("{list} list --json")), "[]\n");
    }
    daemon.one();
    daemon.with_secret("account add alice", "first-long-secret");
    daemon.done("fault add 1/1 op=READ10,action=BUSY");
    let session = daemon.log_in();
    let unit = [
        "block_size",
        "bytes",
        "device_type",
        "direct",
        "lun",
        "online",
        "path",
        "port_groups",
        "prevent_removal",
        "protection",
        "read_only",
        "removable",
        "scsi_id",
        "scsi_sn",
        "store",
        "swp",
        "sync",
        "thin",
    ];
    let target = ["addresses", "driver", "incoming", "name", "names", "nop_count", "nop_interval", "outgoing", "sessions", "state", "tid", "units"];
    let with = |members: &[&'static str], more: &[&'static str]| {
        let mut all = [members, more].concat();
        all.sort_unstable();
        all
    };
    let shape = |line: &str, expected: &[&str]| {
        let value = daemon.json(line);
        let object = value.as_array().map_or(&value, |list| &list[0]);
        assert_eq!(members(object), expected, "{line}");
    };
    shape("target list", &target);
    shape("target show 1", &with(&target, &["parameters", "redirect"]));
    shape("unit list", &with(&unit, &["target", "tid"]));
    shape("unit show 1/1", &with(&unit, &["stat", "target", "tid"]));
    shape("acl list", &["kind", "rule", "target", "tid"]);
    shape("account list", &["discovery_incoming", "discovery_outgoing", "incoming", "outgoing", "user"]);
    shape("account show alice", &["discovery_incoming", "discovery_outgoing", "incoming", "outgoing", "user"]);
    shape("portal list", &["address", "group_tag"]);
    shape("session list", &["alias", "connections", "initiator", "sid", "target", "tid"]);
    let sid = daemon.json("session list")[0]["sid"].as_u64().expect("number");
    shape(&format!("session show {sid}"), &["alias", "connections", "initiator", "sid", "stat", "target", "tid"]);
    shape("store list", &["bytes", "flags", "name", "units"]);
    shape("fault list", &["fired", "index", "line", "lun", "rule", "tid"]);
    let told = "[{\"tag\":1,\"state\":\"non-optimized\",\"preferred\":true}]\n";
    assert_eq!(daemon.done("unit access-state 1/1 1 non-optimized --preferred --json"), told);
    assert_eq!(daemon.done("unit access-state 1/1 --json"), told);
    daemon.done("unit access-state 1/1 1 transitioning --preferred");
    assert_eq!(daemon.done("unit access-state 1/1 1 --fail --json"), told, "it is what it was");
    drop(session);
    assert_eq!(daemon.done("fault rm all --json"), "{\"removed\":1}\n");
    assert_eq!(daemon.done("unit reset 1/1 --json"), "{\"reset\":true}\n");
    assert_eq!(daemon.done("unit rm 1/1 --json"), "{\"removed\":1}\n");
    assert_eq!(daemon.done("acl add 1 ::1 ::2 --json"), "{\"added\":2}\n");
    assert_eq!(daemon.done("target rm 1 --json --force"), "{\"removed\":1}\n");
}

#[test]
fn refusals_name_the_field_and_what_is_allowed() {
    let daemon = Daemon::start("refused");
    daemon.one();
    for (line, complaint) in [
        ("target show 4", format!("no target `4`: there are 1 ({ONE})")),
        ("target set 1 MaxBurstLength=5", "'5' is no value for MaxBurstLength: 512 to 16777215".into()),
        ("target set 1 state=up", "'up' is no value for state: ready or offline".into()),
        ("unit show 1/9", "target 1 has no unit 9: it has 1/1".into()),
        ("unit set 1/1 lbppbe=16", "'16' is no value for lbppbe: 0 to 15".into()),
        ("unit set 1/1 readonly=perhaps", "'perhaps' is no value for readonly: on or off (1 or 0)".into()),
        ("unit set 1/1 vendor_id=ACMEACMEX", "'ACMEACMEX' is no value for vendor_id: 1 to 8 characters".into()),
        ("unit set 1/1 path=1M", "a medium is in: set online=0 first".into()),
        ("unit add 1 --memory 1M --lun 1", "unit 1/1 exists already".into()),
        ("unit add 1 --memory 1M --lun 99999999", "unit numbers go from 1 to 16383, not 99999999".into()),
        ("unit rm 1/0", "the controller at LUN 0 goes with its target".into()),
        ("fault show 3", "there is no rule 3: `scuzzy fault list` shows them".into()),
        ("session show 3", "no session 3: nobody is logged in".into()),
        ("account show dave", "no account `dave`: there is none yet".into()),
    ] {
        assert_eq!(daemon.refused(line), complaint, "{line}");
    }
    let unknown = daemon.refused("target set 1 colour=red");
    assert!(unknown.starts_with("a target has no setting 'colour': state, nop_interval, ") && unknown.ends_with(", MaxQueueCmd"), "{unknown}");
    let unknown = daemon.refused("unit set 1/1 product_id=x colour=red");
    assert!(unknown.starts_with("a disk has no setting 'colour': scsi_id, "), "{unknown}");
    assert!(daemon.shown().contains("Online: Yes"), "a mistake changes nothing");
    // What only the daemon can judge is refused when its turn comes.
    assert_eq!(daemon.refused("unit set 1/1 product_id=x path=1M"), "a medium is in: set online=0 first (changed before: product_id=x)");
    for usage in
        ["target", "target set 1", "target set 1 state", "unit add 1", "unit add 1 a.img --null", "unit show 1", "account bind a", "target add x"]
    {
        let output = daemon.run(usage);
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(2), true), "{usage}");
    }
    for (verb, settings) in [("target", "MaxBurstLength"), ("unit", "optimal_xfer_gran")] {
        let help = daemon.done(&format!("{verb} set --help"));
        assert!(help.contains(settings), "{help}");
    }
}

#[test]
fn units_get_other_sizes_and_media_under_a_session() {
    let daemon = Daemon::start("live");
    daemon.one();
    let mut session = daemon.log_in();
    // The last block can be read, the one behind it cannot; the first commands after a change hear of it instead.
    let ends_at = |session: &mut initiator::Session, blocks: u32| {
        let mut read = |lba: u32| loop {
            let ended = session.read(lba, 512, 512).expect("answers");
            match ended.sense {
                Some(sense) if sense.key.0 == 6 => {}
                sense => return sense.map(|sense| sense.asc.0),
            }
        };
        (read(blocks - 1), read(blocks)) == (None, Some(0x2100))
    };
    assert!(ends_at(&mut session, 16 << 11));
    assert_eq!(daemon.done("unit resize :one/1 32M"), "unit 1/1 has 32 MiB (33554432 bytes)\n");
    assert!(ends_at(&mut session, 32 << 11));
    assert!(daemon.refused("unit resize 1/1 1M").contains("force"));
    assert_eq!(daemon.done("unit resize 1/1 1M --force"), "unit 1/1 has 1 MiB (1048576 bytes)\n");

    let image = daemon.image("a.img");
    std::fs::write(&image, vec![0x5a; 8 << 20]).expect("image");
    assert_eq!(daemon.done("unit swap 1/1 a.img --store rdwr --sync"), format!("unit 1/1 is on rdwr {}, 8 MiB\n", image.display()));
    assert!(daemon.shown().contains("Backing store flags: sync"));
    assert!(ends_at(&mut session, 8 << 11));
    assert_eq!(session.read(0, 512, 512).expect("reads").data, [0x5a; 512]);
    // Changed from outside, looked at again.
    std::fs::File::options().write(true).open(&image).and_then(|file| file.set_len(9 << 20)).expect("grows");
    assert_eq!(daemon.json("unit resize 1/1")["bytes"], 9 << 20);
    assert!(daemon.refused("unit swap 1/1 --memory 1M").contains("force"));
    let value = daemon.json("unit swap 1/1 --memory 1M --force --no-flags");
    assert_eq!((&value["store"], &value["sync"]), (&"memory".into(), &false.into()));
    assert!(daemon.refused("unit swap 1/1 missing.img --store rdwr").contains("missing.img: no such file"));
    daemon.done("unit rm 1/1 --force");
    assert_eq!(daemon.done("unit list"), "no units: add one with `scuzzy unit add TARGET PATH`\n");
}

#[test]
fn watching_hears_of_a_change_at_once() {
    let daemon = Daemon::start("hears");
    // It looks once an hour by itself.
    let mut child = daemon.command("target list --json --watch=3600").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    let lines = Lines::of(&mut child);
    assert_eq!(lines.next(), "[]");
    daemon.one();
    let sessions = |line: String| serde_json::from_str::<Value>(&line).expect("JSON")[0]["sessions"].as_array().map(Vec::len);
    let session = daemon.log_in();
    while sessions(lines.next()) != Some(1) {}
    drop(session);
    while sessions(lines.next()) != Some(0) {}
    // The daemon ends: so does the watching, with a reason.
    daemon.done("target rm 1 --force");
    daemon.tgtadm("--mode system --op delete");
    wait_for("the end of watching", || child.try_wait().expect("asks").is_some_and(|status| status.code() == Some(1)));
}

#[test]
fn watching_prints_a_line_for_each_change() {
    let daemon = Daemon::start("watch");
    let mut child = daemon.command("target list --json --watch=0.1").stdout(Stdio::piped()).spawn().expect("starts");
    let lines = Lines::of(&mut child);
    assert_eq!(lines.next(), "[]");
    daemon.done(&format!("target add {ONE}"));
    let line: Value = serde_json::from_str(&lines.next()).expect("JSON");
    assert_eq!(line[0]["name"], ONE);
    daemon.done("target rm 1");
    assert_eq!(lines.next(), "[]");
    child.kill().and_then(|()| child.wait()).expect("ends");

    // It ends by itself when nobody reads any more, though nothing changes.
    let mut child = daemon.command("target list --json --watch=0.1").stdout(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    wait_for("the end of watching", || child.try_wait().expect("asks").is_some_and(|status| status.success()));
}

/// A command on a terminal: `script` makes one and copies what the command prints there.
fn on_a_terminal(daemon: &Daemon, line: &str) -> Child {
    let line = format!("{SCUZZY} {line}");
    let mut command = Command::new("script");
    command.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]).env("TGT_IPC_SOCKET", daemon.folder.join("ipc"));
    command.env("XDG_RUNTIME_DIR", &daemon.folder).env_remove("SCUZZY_CHAP_SECRET").stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().expect("script of util-linux is needed")
}

#[test]
fn a_terminal_is_drawn_again() {
    let daemon = Daemon::start("terminal");
    let mut child = on_a_terminal(&daemon, "portal list --watch=0.1");
    let lines = Lines::of(&mut child);
    let heading = |line: String| line.trim_end().ends_with("\u{1b}[H\u{1b}[2J\u{1b}[3JADDRESS          GROUP");
    assert!(heading(lines.next()));
    let first = lines.next();
    assert!(first.starts_with(&daemon.portal()), "{first}");
    daemon.done("portal add 127.0.0.1:0");
    assert!(heading(lines.next()), "drawn from the top");
    child.kill().and_then(|()| child.wait()).expect("ends");
}

#[test]
fn a_secret_is_asked_for_twice_on_a_terminal() {
    let daemon = Daemon::start("prompt");
    let typed = |line: &str, answers: &str| {
        let mut child = on_a_terminal(&daemon, line);
        child.stdin.take().expect("piped").write_all(answers.as_bytes()).expect("types");
        let output = child.wait_with_output().expect("ends");
        (text(&output.stdout), output.status.code())
    };
    let (shown, status) = typed("account add alice", "typed-long-secret\ntyped-long-secret\n");
    assert!(shown.contains("Secret of alice: ") && shown.contains("account alice is made"), "{shown}");
    assert_eq!(status, Some(0));
    let (shown, status) = typed("account add bob", "typed-long-secret\nanother-long-one\n");
    assert!(shown.contains("the two are not the same: nothing is changed"), "{shown}");
    assert_eq!(status, Some(1));
    assert_eq!(daemon.json("account list").as_array().map(Vec::len), Some(1));
}

#[test]
fn readers_look_and_change_nothing() {
    let daemon = Daemon::start("readers");
    let inner =
        format!("{SCUZZY} target list --control shared.ro && {SCUZZY} unit show 1/1 --control shared.ro && {SCUZZY} unit rm 1/1 --control shared.ro");
    let output =
        daemon.command("serve --memory 16M --portal 127.0.0.1:0 --control shared --control-readers all --run").arg(&inner).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("unit     1/1\n"), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("this socket is for readers"), "{}", text(&output.stderr));
}

#[test]
fn a_served_disk_is_managed_as_well_and_comes_first() {
    let daemon = Daemon::start("served");
    let inner = format!("{SCUZZY} target list && {SCUZZY} unit add 1 --memory 1M && {SCUZZY} unit rm 1/2 && {SCUZZY} portal add 127.0.0.1:0");
    let mut command = daemon.command("serve --memory 16M --portal 127.0.0.1:0 --run");
    let output = command.arg(&inner).output().expect("runs");
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", text(&output.stderr));
    for part in
        ["  1  iqn.2026-11.io.scuzzy:disk  ready      1  16 MiB         0  ALL\n", "unit 1/2: disk, 1 MiB, memory\n", "listening on 127.0.0.1:"]
    {
        assert!(printed.contains(part), "{part} is missing in {printed}");
    }
    assert_eq!(daemon.done("target list --json"), "[]\n");
}

/// The verb that makes a request, or why there is none. A new request does not compile until it is said.
fn verb(request: &Request) -> Result<&'static str, &'static str> {
    use Request as R;
    match request {
        R::SystemShow => Ok("store list"),
        R::SystemStat | R::TargetStat { .. } => Err("the same rows as `unit show`, for more units; `scuzzy stat` has all of them"),
        R::SystemDelete => Err("a daemon is ended by whoever started it: a signal, or the service manager"),
        R::SystemUpdate { .. } => Err("settings of the daemon itself are options of its start; tgtadm changes them for those who come from tgt"),
        R::TargetNew { .. } => Ok("target add"),
        R::TargetDelete { .. } => Ok("target rm"),
        R::TargetShow { tid: None } => Ok("target list"),
        R::TargetShow { tid: Some(_) } => Ok("target show"),
        R::TargetBind { .. } => Ok("acl add"),
        R::TargetUnbind { .. } => Ok("acl rm"),
        R::TargetUpdate { .. } => Ok("target set"),
        R::UnitNew(_) => Ok("unit add"),
        R::UnitDelete { .. } => Ok("unit rm"),
        R::UnitUpdate { .. } => Ok("unit set"),
        R::UnitStat { .. } => Ok("unit show"),
        R::UnitReset { .. } => Ok("unit reset"),
        R::UnitFailTransition { .. } => Ok("unit access-state"),
        R::UnitResize { .. } => Ok("unit resize"),
        R::UnitSwap(_) => Ok("unit swap"),
        R::PortalNew(_) => Ok("portal add"),
        R::PortalDelete(_) => Ok("portal rm"),
        R::PortalShow => Ok("portal list"),
        R::DriverStart | R::DriverStop | R::DriverShow => Err("there is one driver; it runs while the daemon does"),
        R::SessionStat { .. } => Ok("session show"),
        R::SessionShow { .. } | R::ConnectionShow { .. } => {
            Err("`session list` and `show` take the sessions out of the targets, with their targets' names")
        }
        R::SessionDelete { .. } | R::ConnectionDelete { .. } => Ok("session rm"),
        R::ConnectionStat { .. } => Err("`session show` has it"),
        R::AccountNew { .. } => Ok("account add"),
        R::AccountUpdate { .. } => Ok("account set"),
        R::AccountDelete { .. } => Ok("account rm"),
        R::AccountShow => Ok("account list"),
        R::AccountBind { .. } => Ok("account bind"),
        R::AccountUnbind { .. } => Ok("account unbind"),
        R::FaultNew { .. } => Ok("fault add"),
        R::FaultShow => Ok("fault list"),
        R::FaultDelete(_) => Ok("fault rm"),
        R::FaultJournal { .. } => Ok("fault journal"),
        R::Trace { .. } => Ok("trace"),
        R::Counters => Ok("stat"),
        R::Status => Ok("status"),
        R::Watch => Err("`--watch` of the verbs that list"),
        R::Dump { .. } => Ok("dump"),
        R::Apply { .. } => Ok("apply"),
        R::TargetDefault { .. } | R::UnitDefault { .. } => Err("`apply` sends them for lines that are gone from the file"),
    }
}

#[test]
fn every_request_has_a_verb_or_a_reason() {
    let user = || "u".to_owned();
    let portals = || PortalRequest { portals: Vec::new(), nop_interval: None, nop_count: None };
    let requests = [
        Request::SystemShow,
        Request::TargetNew { tid: 1, name: user() },
        Request::TargetDelete { tid: 1, force: false },
        Request::TargetShow { tid: None },
        Request::TargetShow { tid: Some(1) },
        Request::TargetBind { tid: 1, rules: Vec::new() },
        Request::TargetUnbind { tid: 1, rules: Vec::new() },
        Request::TargetUpdate { tid: 1, name: user(), value: user() },
        Request::UnitNew(UnitNew::default()),
        Request::UnitDelete { tid: 1, lun: 1, force: false },
        Request::UnitUpdate { tid: 1, lun: 1, parameters: Vec::new() },
        Request::UnitStat { tid: 1, lun: 1 },
        Request::UnitReset { tid: 1, lun: 1 },
        Request::UnitFailTransition { tid: 1, lun: 1, group: 1 },
        Request::UnitResize { tid: 1, lun: 1, bytes: None, force: false },
        Request::UnitSwap(UnitSwap { tid: 1, lun: 1, path: user(), bstype: None, bsoflags: None, force: false }),
        Request::PortalNew(portals()),
        Request::PortalDelete(portals()),
        Request::PortalShow,
        Request::SessionStat { sid: 1 },
        Request::SessionDelete { sid: 1 },
        Request::AccountNew { user: user(), password: user() },
        Request::AccountUpdate { user: user(), password: user() },
        Request::AccountDelete { user: user() },
        Request::AccountShow,
        Request::Dump { secrets: false },
        Request::Apply { document: Box::default(), dry_run: true },
        Request::AccountBind { tid: None, user: user(), outgoing: false },
        Request::AccountUnbind { tid: None, user: user(), outgoing: false },
        Request::FaultNew { tid: 1, lun: 1, rule: user() },
        Request::FaultShow,
        Request::FaultDelete(FaultSelection::All),
        Request::FaultJournal { tid: 1, lun: 1 },
        Request::Trace { tid: None, lun: None, limit: 1 },
        Request::Counters,
        Request::Status,
    ];
    for request in requests {
        let words = verb(&request).unwrap_or_else(|reason| panic!("{request:?} has no verb: {reason}"));
        let help = Command::new(SCUZZY).args(words.split(' ')).arg("--help").output().expect("runs");
        assert!(help.status.success(), "`scuzzy {words}` is no command");
    }
    assert!(verb(&Request::DriverShow).is_err_and(|reason| !reason.is_empty()));
}

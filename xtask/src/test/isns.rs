//! Open-iSNS, which shares no line with ours, as the name server of `scuzzy serve`.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::server::Server;
use crate::process::{self, Background, Scratch, wait_for};
use crate::report::Report;

/// One client call.
const LIMIT: Duration = Duration::from_secs(30);
/// One look at the server. It may hang for ever when the server starts at that moment, and is then repeated.
const LOOK: Duration = Duration::from_secs(5);
/// Until the server has heard, asked, or told.
const PATIENCE: Duration = Duration::from_secs(30);
/// An initiator that the server knows, and one that it does not.
const KNOWN: &str = "iqn.2026-11.org.example:known";
const STRANGER: &str = "iqn.2026-11.org.example:stranger";

/// All of them.
pub fn run(report: &mut Report) {
    report.check("Open-iSNS lists the target, asks whether it lives, and admits initiators", || with_server(3));
    report.check("Open-iSNS without inquiries", || with_server(0));
}

/// Open-iSNS in a folder of its own.
struct NameServer {
    process: Background,
    folder: Scratch,
    port: u16,
}

impl NameServer {
    fn start(inquiries: u32) -> Result<NameServer> {
        let folder = Scratch::new("isns")?;
        // Free now; the name server has no way to choose one itself.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let path = folder.path().display();
        let both = format!("Security = 0\nControlSocket = {path}/control\nServerAddress = 127.0.0.1:{port}\n");
        std::fs::create_dir(folder.path().join("db"))?;
        std::fs::write(folder.path().join("isnsadm.conf"), format!("{both}SourceName = iqn.2026-11.org.example:adm\n"))?;
        let server = format!(
            "{both}SourceName = iqn.2026-11.org.example:server\nBindAddress = 127.0.0.1:{port}\nDatabase = {path}/db\nPIDFile = {path}/pid\n\
             DefaultDiscoveryDomain = 1\nESIRetries = {inquiries}\nESIMinInterval = 1s\nESIMaxInterval = 1s\n"
        );
        std::fs::write(folder.path().join("isnsd.conf"), server)?;
        let mut name_server = NameServer { process: NameServer::process(folder.path())?, folder, port };
        name_server.serving()?;
        Ok(name_server)
    }

    fn process(folder: &Path) -> Result<Background> {
        let mut command = Command::new("isnsd");
        command.args(["-f", "-d", "esi,scn", "-c"]).arg(folder.join("isnsd.conf"));
        Background::start(&mut command, &folder.join("log"))
    }

    fn serving(&mut self) -> Result<()> {
        wait_for("isnsd to serve", PATIENCE, || self.list("nodes").ok()).with_context(|| self.log()).map(drop)
    }

    fn restart(&mut self) -> Result<()> {
        self.process.kill();
        self.process = NameServer::process(self.folder.path())?;
        self.serving()
    }

    fn administrate(&self, words: &[&str], limit: Duration) -> Result<String> {
        process::run(Command::new("isnsadm").arg("-c").arg(self.folder.path().join("isnsadm.conf")).args(words), limit)
    }

    fn list(&self, what: &str) -> Result<String> {
        self.administrate(&["--local", "--list", what], LOOK)
    }

    fn lists(&self, what: &str, word: &str) -> bool {
        self.list(what).is_ok_and(|text| text.contains(word))
    }

    fn log(&self) -> String {
        process::read(&self.folder.path().join("log"))
    }
}

fn visible(server: &Server, initiator: &str) -> bool {
    let mut command = Command::new("iscsi-ls");
    process::run(command.args(["-i", initiator, &format!("iscsi://{}", server.portal)]), LIMIT).is_ok_and(|text| text.contains(&server.target))
}

/// `inquiries`: how often the server asks before it gives somebody up; 0: never, and it refuses whoever wants to be asked.
fn with_server(inquiries: u32) -> Result<()> {
    let mut name_server = NameServer::start(inquiries)?;
    let mut server = Server::start(&[])?;
    let set = |server: &Server, name: &str, value: &str| server.tgtadm(&["--mode", "system", "--op", "update", "--name", name, "--value", value]);
    set(&server, "iSNSServerIP", "127.0.0.1")?;
    set(&server, "iSNSServerPort", &name_server.port.to_string())?;
    set(&server, "iSNSAccessControl", "On")?;
    ensure!(visible(&server, STRANGER), "everybody sees the target before");
    set(&server, "iSNS", "On")?;
    wait_for("the target at the server", PATIENCE, || name_server.lists("nodes", &server.target).then_some(())).with_context(|| name_server.log())?;
    let port = server.portal.rsplit_once(':').context("a port")?.1;
    ensure!(name_server.lists("portals", &format!("{port}/tcp")), "the portal is not listed:\n{}", name_server.list("portals")?);
    let on = |server: &Server| server.tgtadm(&["--mode", "system", "--op", "show"]).is_ok_and(|text| text.contains("iSNS=On"));
    ensure!(on(&server), "show does not say On");
    ensure!(!visible(&server, KNOWN) && !visible(&server, STRANGER), "somebody is let in whom the server does not know");

    // The server tells us of an initiator that comes.
    name_server.administrate(&["--register", &format!("initiator={KNOWN}")], LIMIT)?;
    wait_for("the initiator to be let in", PATIENCE, || visible(&server, KNOWN).then_some(())).with_context(|| name_server.log())?;
    ensure!(!visible(&server, STRANGER), "a stranger is let in");
    if inquiries > 0 {
        wait_for("an answered inquiry", PATIENCE, || name_server.log().contains("Good ESI response").then_some(()))
            .with_context(|| name_server.log())?;
    }

    name_server.restart()?;
    wait_for("the server to be found again", PATIENCE, || on(&server).then_some(())).with_context(|| name_server.log())?;
    ensure!(visible(&server, KNOWN) && !visible(&server, STRANGER), "access is not as before");
    server.terminate()?;
    wait_for("the end of the registration", PATIENCE, || name_server.list("nodes").is_ok_and(|text| !text.contains(&server.target)).then_some(()))?;
    ensure!(name_server.lists("nodes", KNOWN), "the initiator is gone, too");
    Ok(())
}

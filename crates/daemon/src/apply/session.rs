//! Modes session and connection, statistics, the flight recorder.

use super::{Context, DONE, target};
use crate::plane::Session;
use crate::state::UnitState;
use ::target::NexusId;
use ::target::flight::{Ending, FlightRecord};
use admin::code::Code;
use admin::reply::{Answer, Reply};
use admin::view::{ConnectionStatRow, CounterRow, SessionStatView, StatRow, TraceRow};
use scsi::{DeviceType, Operation};

pub fn show(context: &Context<'_>, tid: i32) -> Reply {
    if !context.state.targets.contains_key(&tid) {
        return Err(Code::NoTarget.into());
    }
    Ok(Answer::Sessions(target::sessions_of(context, tid).iter().rev().map(target::session_view).collect()))
}

/// Sessions of all targets, newest first; or of one.
pub fn show_sessions(context: &Context<'_>, tid: Option<i32>) -> Reply {
    match tid {
        Some(tid) => show(context, tid),
        None => Ok(Answer::Sessions(context.plane.sessions().iter().rev().map(target::session_view).collect())),
    }
}

/// Closes a session, whatever its target.
pub fn delete_session(context: &Context<'_>, sid: u64) -> Reply {
    let sessions = context.plane.sessions();
    let session = sessions.iter().find(|session| session.sid == sid).ok_or(Code::NoSession)?;
    let closed = session.connections.iter().filter(|(_, row)| context.plane.close_connection(session.tid, sid, row.cid)).count();
    if closed > 0 { DONE } else { Err(Code::NoSession.into()) }
}

/// Closes a connection; with the last one of a session the session ends.
pub fn delete(context: &Context<'_>, tid: i32, sid: u64, cid: u32) -> Reply {
    if !context.state.targets.contains_key(&tid) {
        return Err(Code::NoTarget.into());
    }
    let sessions = target::sessions_of(context, tid);
    let session = sessions.iter().find(|session| session.sid == sid).ok_or(Code::NoSession)?;
    row_of(session, cid)?;
    if context.plane.close_connection(tid, sid, cid) { DONE } else { Err(Code::NoSession.into()) }
}

pub fn system_stat(context: &Context<'_>) -> Reply {
    let tids: Vec<i32> = context.state.targets.keys().copied().collect();
    Ok(Answer::Stat(tids.iter().flat_map(|&tid| rows(context, tid, |_| true)).collect()))
}

pub fn target_stat(context: &Context<'_>, tid: i32) -> Reply {
    if !context.state.targets.contains_key(&tid) {
        return Err(Code::NoTarget.into());
    }
    Ok(Answer::Stat(rows(context, tid, |_| true)))
}

pub fn unit_stat(context: &Context<'_>, tid: i32, lun: u64) -> Reply {
    let target = context.state.targets.get(&tid).ok_or(Code::NoTarget)?;
    if !target.units.contains_key(&lun) {
        return Err(Code::NoUnit.into());
    }
    Ok(Answer::Stat(rows(context, tid, |number| number == lun)))
}

/// The counters of a connection.
fn row_of(session: &Session, cid: u32) -> Result<ConnectionStatRow, Code> {
    session.connections.iter().map(|(_, row)| *row).find(|row| row.cid == cid).ok_or(Code::NoConnection)
}

/// Units of the session's target, newest first, and its connections.
pub fn stat(context: &Context<'_>, sid: u64) -> Reply {
    let sessions = context.plane.sessions();
    let session = sessions.iter().find(|session| session.sid == sid).ok_or(Code::NoSession)?;
    let mut units: Vec<(&u64, &UnitState)> = context.state.targets.get(&session.tid).map(|target| target.units.iter().collect()).unwrap_or_default();
    units.sort_by_key(|(_, unit)| std::cmp::Reverse(unit.created));
    let units = units.into_iter().map(|(&lun, unit)| row(session, lun, unit)).collect();
    Ok(Answer::SessionStat(SessionStatView { units, connections: session.connections.iter().map(|(_, row)| *row).collect() }))
}

pub fn connection_stat(context: &Context<'_>, sid: u64, cid: u32) -> Reply {
    let sessions = context.plane.sessions();
    let session = sessions.iter().find(|session| session.sid == sid).ok_or(Code::NoSession)?;
    Ok(Answer::ConnectionStat(vec![row_of(session, cid)?]))
}

/// A line per unit and session of a target, units ascending.
fn rows(context: &Context<'_>, tid: i32, wanted: impl Fn(u64) -> bool) -> Vec<StatRow> {
    let Some(target) = context.state.targets.get(&tid) else { return Vec::new() };
    let sessions = target::sessions_of(context, tid);
    let units = target.units.iter().filter(|(lun, _)| wanted(**lun));
    units.flat_map(|(&lun, unit)| sessions.iter().map(move |session| row(session, lun, unit))).collect()
}

/// What a unit counted for a session.
fn row(session: &Session, lun: u64, unit: &UnitState) -> StatRow {
    let core = unit.cell.lock();
    let traffic = core.counters().nexus(session.nexus).copied().unwrap_or_default();
    StatRow {
        tid: session.tid,
        lun,
        sid: session.sid,
        read_submitted_bytes: traffic.read.submitted_bytes,
        read_submitted_commands: traffic.read.submitted_commands,
        read_done_bytes: traffic.read.done_bytes,
        read_done_commands: traffic.read.done_commands,
        write_submitted_bytes: traffic.write.submitted_bytes,
        write_submitted_commands: traffic.write.submitted_commands,
        write_done_bytes: traffic.write.done_bytes,
        write_done_commands: traffic.write.done_commands,
        errors: traffic.errors,
    }
}

/// Commands by session, operation and status; session number 0 stands for the sessions that ended.
pub fn counters(context: &Context<'_>) -> Answer {
    let sessions = context.plane.sessions();
    let mut rows = Vec::new();
    for target in context.state.targets.values() {
        for (&lun, unit) in target.units.iter() {
            let core = unit.cell.lock();
            let device_type = core.device().device_type();
            rows.extend(core.counters().operations().map(|(nexus, counted)| CounterRow {
                tid: target.tid,
                lun,
                sid: nexus.map_or(0, |nexus| sid_of(&sessions, nexus)),
                operation: counted.operation.map_or("unknown", |operation| name_of(device_type, operation)).into(),
                status: counted.status.name().map_or_else(|| format!("{:02x}h", counted.status.0), Into::into),
                count: counted.ended,
                bytes: counted.bytes,
            }));
        }
    }
    Answer::Counters(rows)
}

fn sid_of(sessions: &[Session], nexus: NexusId) -> u64 {
    sessions.iter().find(|session| session.nexus == nexus).map_or(0, |session| session.sid)
}

fn name_of(device_type: DeviceType, operation: Operation) -> &'static str {
    scsi::command::rows_for(device_type).find(|row| row.operation == operation).map_or("unknown", |row| row.name)
}

/// The last commands that ended, oldest first.
pub fn trace(context: &Context<'_>, tid: Option<i32>, lun: Option<u64>, limit: u64) -> Answer {
    let sessions = context.plane.sessions();
    let started = context.state.started;
    let mut rows: Vec<(u64, TraceRow)> = Vec::new();
    for target in context.state.targets.values().filter(|target| tid.is_none_or(|tid| tid == target.tid)) {
        for (&number, unit) in target.units.iter().filter(|(number, _)| lun.is_none_or(|lun| lun == **number)) {
            let records: Vec<FlightRecord> = unit.cell.lock().recent().copied().collect();
            rows.extend(records.iter().map(|record| (record.ended, traced(record, target.tid, number, &sessions, started))));
        }
    }
    rows.sort_by_key(|(ended, _)| *ended);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    rows.drain(..rows.len().saturating_sub(limit));
    Answer::Trace(rows.into_iter().map(|(_, row)| row).collect())
}

fn traced(record: &FlightRecord, tid: i32, lun: u64, sessions: &[Session], started: u64) -> TraceRow {
    let [reactor, ..] = record.nexus.0.to_le_bytes();
    let sense = record.sense.map(|(key, asc)| format!("{:x}/{:04x} {}: {}", key.0, asc.0, scsi::explain::key(key), scsi::explain::asc(asc.0)));
    let event = record.event.map(|event| format!("fault event {}", event.0));
    TraceRow {
        time_ns: record.arrived.saturating_sub(started),
        duration_ns: Some(record.ended.saturating_sub(record.arrived)),
        reactor: reactor.into(),
        tid,
        lun,
        sid: sid_of(sessions, record.nexus),
        tag: record.tag.0,
        command: record.name.map_or_else(|| format!("operation code {:02x}h", record.opcode), Into::into),
        opcode: record.opcode,
        lba: record.lba,
        blocks: record.blocks,
        outcome: match record.ending {
            Ending::Status(status) => status.name().map_or_else(|| format!("status {:02x}h", status.0), Into::into),
            Ending::Aborted => "aborted".into(),
        },
        note: [sense, event].into_iter().flatten().collect::<Vec<_>>().join(", "),
    }
}

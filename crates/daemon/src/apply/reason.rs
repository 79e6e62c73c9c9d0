//! What a refusal says when the place that refused gave its number only: which name or number was wrong, and what there is instead.

use admin::code::Code;
use admin::reply::Failure;
use admin::request::{Request, UnitNew, UnitSwap};

use super::Context;
use crate::state::{ACCOUNT_LIMIT, State, TargetState};

/// Most things that a line lists.
const LISTED: usize = 8;

/// The failure, with a reason when it has none.
pub fn explain(context: &Context<'_>, request: &Request, failure: Failure) -> Failure {
    if !failure.detail.is_empty() {
        return failure;
    }
    let state = &*context.state;
    let detail = match failure.code {
        Code::NoTarget => tid_of(request).map(|tid| no_target(state, tid)),
        Code::NoUnit => unit_of(request).and_then(|(tid, lun)| Some(no_unit(state.targets.get(&tid)?, lun))),
        Code::UnitExists => unit_of(request).map(|(tid, lun)| format!("unit {tid}/{lun} exists already")),
        Code::UnitActive => unit_of(request).map(|(tid, lun)| format!("unit {tid}/{lun} has commands in flight")),
        Code::RemovalPrevented => unit_of(request).map(|(tid, lun)| format!("an initiator prevents the removal of the medium of unit {tid}/{lun}")),
        Code::TargetActive => tid_of(request).map(|tid| format!("target {tid} has sessions")),
        Code::NoSession => sid_of(request).map(|sid| no_session(context, sid)),
        Code::NoConnection => sid_of(request).map(|sid| format!("session {sid} has no such connection")),
        Code::NoAccount | Code::AccountExists | Code::OutgoingAccountExists | Code::TooManyAccounts => account(state, request, failure.code),
        _ => None,
    };
    Failure { detail: detail.unwrap_or_default(), ..failure }
}

/// `a, b and 3 more`, or `there is none`.
pub fn listed<T: ToString>(things: &[T]) -> String {
    let shown: Vec<String> = things.iter().take(LISTED).map(ToString::to_string).collect();
    match things.len() {
        0 => "there is none".into(),
        count if count > LISTED => format!("there are {} and {} more", shown.join(", "), count - LISTED),
        1 => format!("there is {}", shown.join(", ")),
        _ => format!("there are {}", shown.join(", ")),
    }
}

fn no_target(state: &State, tid: i32) -> String {
    format!("no target {tid}: {}", listed(&state.targets.keys().collect::<Vec<_>>()))
}

fn no_unit(target: &TargetState, lun: u64) -> String {
    let units: Vec<u64> = target.units.keys().copied().filter(|&lun| lun != 0).collect();
    format!("target {} has no unit {lun}: {}", target.tid, listed(&units))
}

fn no_session(context: &Context<'_>, sid: u64) -> String {
    let sessions: Vec<u64> = context.plane.sessions().iter().map(|session| session.sid).collect();
    format!("no session {sid}: {}", listed(&sessions))
}

fn account(state: &State, request: &Request, code: Code) -> Option<String> {
    let accounts = || listed(&state.accounts.iter().map(|account| &account.user).collect::<Vec<_>>());
    let place = |tid: &Option<i32>| tid.map_or_else(|| "discovery".into(), |tid| format!("target {tid}"));
    let full = format!("{ACCOUNT_LIMIT} is the limit");
    Some(match (request, code) {
        (_, Code::TooManyAccounts) => full,
        (Request::AccountUnbind { tid, user, .. }, Code::NoAccount) => format!("account `{user}` is not bound to {} in this direction", place(tid)),
        (Request::AccountBind { tid, user, .. }, Code::AccountExists) => format!("account `{user}` is bound to {} already", place(tid)),
        (Request::AccountBind { tid, .. }, Code::OutgoingAccountExists) => {
            let user = match tid {
                Some(tid) => state.targets.get(tid)?.outgoing.as_deref(),
                None => state.discovery_outgoing.as_deref(),
            };
            format!("{} has an outgoing account already: `{}`", place(tid), user.unwrap_or_default())
        }
        (Request::AccountNew { user, .. }, Code::AccountExists) => format!("account `{user}` exists already"),
        (Request::AccountBind { user, .. } | Request::AccountDelete { user } | Request::AccountUpdate { user, .. }, Code::NoAccount) => {
            format!("no account `{user}`: {}", accounts())
        }
        _ => return None,
    })
}

/// The target that a request is about.
fn tid_of(request: &Request) -> Option<i32> {
    use Request as R;
    match request {
        R::TargetDelete { tid, .. }
        | R::TargetStat { tid }
        | R::TargetBind { tid, .. }
        | R::TargetUnbind { tid, .. }
        | R::TargetUpdate { tid, .. }
        | R::ConnectionShow { tid }
        | R::ConnectionDelete { tid, .. } => Some(*tid),
        R::TargetShow { tid } | R::SessionShow { tid } | R::AccountBind { tid, .. } | R::AccountUnbind { tid, .. } => *tid,
        other => unit_of(other).map(|(tid, _)| tid),
    }
}

/// The unit that a request is about.
fn unit_of(request: &Request) -> Option<(i32, u64)> {
    use Request as R;
    match request {
        R::UnitNew(UnitNew { tid, lun, .. })
        | R::UnitDelete { tid, lun, .. }
        | R::UnitResize { tid, lun, .. }
        | R::UnitSwap(UnitSwap { tid, lun, .. })
        | R::UnitUpdate { tid, lun, .. }
        | R::UnitStat { tid, lun }
        | R::UnitReset { tid, lun }
        | R::UnitFailTransition { tid, lun, .. }
        | R::FaultJournal { tid, lun } => Some((*tid, *lun)),
        _ => None,
    }
}

/// The session that a request is about.
fn sid_of(request: &Request) -> Option<u64> {
    match request {
        Request::SessionStat { sid }
        | Request::SessionDelete { sid }
        | Request::ConnectionStat { sid, .. }
        | Request::ConnectionDelete { sid, .. } => Some(*sid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use admin::request::Binding;

    use super::*;
    use crate::stub;

    fn detail(control: &crate::apply::Control, request: Request) -> String {
        match stub::ask(control, request) {
            Err(failure) => failure.detail,
            Ok(answer) => panic!("not refused: {answer:?}"),
        }
    }

    #[test]
    fn refusals_name_what_is_wrong_and_what_there_is() {
        let (control, stub) = stub::control(false);
        let ask = |request| drop(stub::ask(&control, request));
        let account = |user: &str| Request::AccountNew { user: user.into(), password: "secret".into() };
        assert_eq!(detail(&control, Request::TargetStat { tid: 9 }), "no target 9: there is none");
        ask(Request::TargetNew { tid: 1, name: "iqn.x:1".into() });
        ask(Request::TargetNew { tid: 2, name: "iqn.x:2".into() });
        ask(account("alice"));
        ask(Request::AccountBind { tid: Some(1), user: "alice".into(), outgoing: true });
        stub.log_in(5, 1);
        let bind = |tid, user: &str, outgoing| Request::AccountBind { tid, user: user.into(), outgoing };
        let disk = UnitNew { tid: 1, lun: 3, path: Some("1M".into()), bstype: Some("memory".into()), ..UnitNew::default() };
        ask(Request::UnitNew(disk.clone()));
        let rules = |text: &str| vec![Binding::Address(text.into())];
        ask(Request::TargetBind { tid: 1, rules: rules("ALL") });
        for (request, want) in [
            (Request::TargetStat { tid: 9 }, "no target 9: there are 1, 2"),
            (Request::TargetNew { tid: 1, name: "iqn.x:3".into() }, "number 1 is taken by target `iqn.x:1`"),
            (Request::TargetNew { tid: 3, name: "iqn.x:1".into() }, "target 1 is called `iqn.x:1` already"),
            (Request::UnitStat { tid: 1, lun: 4 }, "target 1 has no unit 4: there is 3"),
            (Request::UnitStat { tid: 2, lun: 4 }, "target 2 has no unit 4: there is none"),
            (Request::UnitNew(disk), "unit 1/3 exists already"),
            (Request::SessionStat { sid: 6 }, "no session 6: there is 5"),
            (Request::TargetDelete { tid: 1, force: false }, "target 1 has 1 session(s): close them first, or use --force"),
            (account("alice"), "account `alice` exists already"),
            (bind(Some(1), "bob", false), "no account `bob`: there is alice"),
            (bind(Some(1), "alice", true), "target 1 has an outgoing account already: `alice`"),
            (
                Request::AccountUnbind { tid: None, user: "alice".into(), outgoing: false },
                "account `alice` is not bound to discovery in this direction",
            ),
            (Request::AccountUpdate { user: "bob".into(), password: "x".into() }, "no account `bob`: there is alice"),
            (Request::TargetBind { tid: 1, rules: rules("ALL") }, "target 1 lets `ALL` in already"),
            (Request::TargetUnbind { tid: 1, rules: rules("::1") }, "target 1 has no rule `::1`: there is ALL"),
        ] {
            assert_eq!(detail(&control, request), want);
        }
    }

    #[test]
    fn lists_are_short() {
        assert_eq!(listed(&(1..=20).collect::<Vec<u32>>()), "there are 1, 2, 3, 4, 5, 6, 7, 8 and 12 more");
    }
}

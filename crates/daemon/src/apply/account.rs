//! Mode account.

use admin::code::Code;
use admin::reply::{Answer, Failure, Reply};
use admin::view::AccountView;

use super::{Context, DONE};
use crate::state::ACCOUNT_LIMIT;

pub fn show(context: &Context<'_>) -> Answer {
    Answer::Accounts(context.state.accounts.iter().rev().map(|account| AccountView { user: account.user.clone() }).collect())
}

pub fn new(context: &mut Context<'_>, user: &str, password: &str) -> Reply {
    if context.state.account(user).is_some() {
        return Err(Code::AccountExists.into());
    }
    if context.state.accounts.len() >= ACCOUNT_LIMIT {
        return Err(Code::TooManyAccounts.into());
    }
    context.state.accounts.push(iscsi::Account { user: user.into(), password: password.as_bytes().into() });
    DONE
}

/// A new password; bindings stay.
pub fn update(context: &mut Context<'_>, user: &str, password: &str) -> Reply {
    let account = context.state.accounts.iter_mut().find(|account| account.user == user).ok_or(Code::NoAccount)?;
    account.password = password.as_bytes().into();
    DONE
}

/// Removes an account and all its bindings.
pub fn delete(context: &mut Context<'_>, user: &str) -> Reply {
    let state = &mut *context.state;
    let Some(place) = state.accounts.iter().position(|account| account.user == user) else {
        return Err(Code::NoAccount.into());
    };
    state.accounts.remove(place);
    state.discovery_incoming.retain(|name| name != user);
    state.discovery_outgoing.take_if(|name| name == user);
    for target in state.targets.values_mut() {
        target.incoming.retain(|name| name != user);
        target.outgoing.take_if(|name| name == user);
    }
    DONE
}

pub fn bind(context: &mut Context<'_>, tid: Option<i32>, user: &str, outgoing: bool) -> Reply {
    let known = context.state.account(user).is_some();
    let (incoming, proved) = lists(context, tid)?;
    if !known {
        return Err(Code::NoAccount.into());
    }
    match (outgoing, proved.is_some()) {
        (true, true) => return Err(Code::OutgoingAccountExists.into()),
        (true, false) => *proved = Some(user.into()),
        (false, _) if incoming.iter().any(|name| name == user) => return Err(Code::AccountExists.into()),
        (false, _) if incoming.len() >= ACCOUNT_LIMIT => return Err(Code::TooManyAccounts.into()),
        (false, _) => incoming.push(user.into()),
    }
    DONE
}

pub fn unbind(context: &mut Context<'_>, tid: Option<i32>, user: &str, outgoing: bool) -> Reply {
    let (incoming, proved) = lists(context, tid)?;
    let found = if outgoing {
        proved.take_if(|name| name == user).is_some()
    } else {
        let before = incoming.len();
        incoming.retain(|name| name != user);
        incoming.len() != before
    };
    if found { DONE } else { Err(Code::NoAccount.into()) }
}

/// The bindings of a target, or of discovery.
fn lists<'a>(context: &'a mut Context<'_>, tid: Option<i32>) -> Result<(&'a mut Vec<String>, &'a mut Option<String>), Failure> {
    let state = &mut *context.state;
    match tid {
        None => Ok((&mut state.discovery_incoming, &mut state.discovery_outgoing)),
        Some(tid) => {
            let target = state.targets.get_mut(&tid).ok_or(Code::NoTarget)?;
            Ok((&mut target.incoming, &mut target.outgoing))
        }
    }
}

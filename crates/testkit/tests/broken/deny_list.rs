//! Deny lists with one fault each, built on a plain map.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tower_oauth2_password::store::{Denial, Denied, DenyList, MemoryDenyList, StoreFuture, TokenRef};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    DeniesAll,
    DeniesEachOnce,
    EndsTooEarly,
    FoldsNames,
    ForgetsDenials,
    ForgetsLongNames,
    IgnoresDeadlines,
    IgnoresSessions,
    IgnoresSubjects,
    KeepsAllOfOneSubject,
    KeepsTen,
    KeepsTheFirstTime,
    KeepsTheLastTime,
    NeverEnds,
}

#[derive(Clone)]
pub struct BrokenDenyList {
    fault: Fault,
    ends: Arc<Mutex<HashMap<String, Instant>>>,
    /// Sessions, subjects and shares.
    rest: MemoryDenyList,
}

pub fn broken(fault: Fault) -> BrokenDenyList {
    BrokenDenyList { fault, ends: Arc::default(), rest: MemoryDenyList::new() }
}

impl BrokenDenyList {
    /// Another handle of the same list, with its own fault.
    pub fn beside(&self, fault: Fault) -> Self {
        Self { fault, ends: Arc::clone(&self.ends), rest: self.rest.clone() }
    }

    fn name(&self, token_id: &str) -> String {
        if self.fault == Fault::FoldsNames { token_id.to_lowercase() } else { token_id.to_owned() }
    }
}

impl DenyList for BrokenDenyList {
    fn deny<'a>(&'a self, denial: Denial<'a>, deadline: Instant) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let ttl = denial.ttl;
            let Denied::Token(token_id) = denial.denied else {
                let ignored = matches!(
                    (self.fault, denial.denied),
                    (Fault::IgnoresSessions, Denied::Session(_)) | (Fault::IgnoresSubjects, Denied::SubjectBefore(_))
                );
                return if ignored { Ok(true) } else { self.rest.deny(denial, deadline).await };
            };
            if Instant::now() >= deadline && self.fault != Fault::IgnoresDeadlines {
                return Err("late".into());
            }
            // Its own subject for each token, except in the check of shares.
            let shared = denial.subject != token_id && self.fault != Fault::KeepsAllOfOneSubject;
            if shared && !self.rest.deny(denial, deadline).await? {
                return Ok(false);
            }
            let mut ends = self.ends.lock().unwrap();
            let (name, end) = (self.name(token_id), Instant::now() + ttl);
            let kept = ends.get(&name).copied();
            match (self.fault, kept) {
                (Fault::ForgetsDenials, _) => return Ok(true),
                (Fault::ForgetsLongNames, _) if name.len() > 1_000 => return Ok(true),
                (Fault::KeepsTen, _) if ends.len() >= 10 => ends.clear(),
                (Fault::DeniesEachOnce, Some(_)) => return Ok(true),
                (Fault::KeepsTheFirstTime, Some(kept)) if kept > Instant::now() => return Ok(true),
                _ => {}
            }
            let longest =
                if self.fault == Fault::KeepsTheLastTime { end } else { kept.map_or(end, |kept| kept.max(end)) };
            ends.insert(name, longest);
            Ok(true)
        })
    }

    fn is_denied(&self, token: TokenRef<'_>) -> bool {
        let Some(token_id) = token.id else { return self.rest.is_denied(token) };
        let now = match self.fault {
            Fault::DeniesAll => return true,
            Fault::EndsTooEarly => Instant::now() + Duration::from_millis(300),
            _ => Instant::now(),
        };
        let end = self.ends.lock().unwrap().get(&self.name(token_id)).copied();
        end.is_some_and(|end| self.fault == Fault::NeverEnds || now < end)
    }
}

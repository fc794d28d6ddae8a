//! Deny lists with one fault each, built on a plain map.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tower_oauth2_password::store::{DenyList, StoreFuture};

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
    KeepsTen,
    KeepsTheFirstTime,
    KeepsTheLastTime,
    NeverEnds,
}

#[derive(Clone)]
pub struct BrokenDenyList {
    fault: Fault,
    ends: Arc<Mutex<HashMap<String, Instant>>>,
}

pub fn broken(fault: Fault) -> BrokenDenyList {
    BrokenDenyList { fault, ends: Arc::default() }
}

impl BrokenDenyList {
    /// Another handle of the same list, with its own fault.
    pub fn beside(&self, fault: Fault) -> Self {
        Self { fault, ends: Arc::clone(&self.ends) }
    }

    fn name(&self, token_id: &str) -> String {
        if self.fault == Fault::FoldsNames { token_id.to_lowercase() } else { token_id.to_owned() }
    }
}

impl DenyList for BrokenDenyList {
    fn deny<'a>(&'a self, token_id: &'a str, ttl: Duration, deadline: Instant) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            if Instant::now() >= deadline && self.fault != Fault::IgnoresDeadlines {
                return Err("late".into());
            }
            let mut ends = self.ends.lock().unwrap();
            let (name, end) = (self.name(token_id), Instant::now() + ttl);
            let kept = ends.get(&name).copied();
            match (self.fault, kept) {
                (Fault::ForgetsDenials, _) => return Ok(()),
                (Fault::ForgetsLongNames, _) if name.len() > 1_000 => return Ok(()),
                (Fault::KeepsTen, _) if ends.len() >= 10 => ends.clear(),
                (Fault::DeniesEachOnce, Some(_)) => return Ok(()),
                (Fault::KeepsTheFirstTime, Some(kept)) if kept > Instant::now() => return Ok(()),
                _ => {}
            }
            let longest =
                if self.fault == Fault::KeepsTheLastTime { end } else { kept.map_or(end, |kept| kept.max(end)) };
            ends.insert(name, longest);
            Ok(())
        })
    }

    fn is_denied(&self, token_id: &str) -> bool {
        let now = match self.fault {
            Fault::DeniesAll => return true,
            Fault::EndsTooEarly => Instant::now() + Duration::from_millis(300),
            _ => Instant::now(),
        };
        let end = self.ends.lock().unwrap().get(&self.name(token_id)).copied();
        end.is_some_and(|end| self.fault == Fault::NeverEnds || now < end)
    }
}

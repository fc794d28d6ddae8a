//! Checks whether a history of one family can be explained: each operation takes effect at one instant between its
//! start and its end, in an order in which the model gives the same replies (Wing and Gong, "Testing and verifying
//! concurrent objects").

use std::{collections::HashSet, fmt};

use test_support::refresh_model::{Due, Model, Times, TokenId};

/// In microseconds: an abandoned call takes effect within two seconds or never (contract of `RefreshStore`).
pub const LATEST_EFFECT: u64 = 2_000_000;
/// More states than this take too long for a test, so histories must be short.
const MOST_STATES: usize = 1_000_000;

/// Tokens by their position in the family: 0 came from the login, and each use gives the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Refresh(usize),
    Revoke(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200: a successor, or the revocation.
    Done,
    /// 400 `invalid_grant`.
    Refused,
    /// 503 or no reply: the operation may have taken effect.
    Unknown,
}

#[derive(Clone, Copy)]
pub struct Operation {
    pub asked: Asked,
    pub answer: Answer,
    /// In microseconds of a monotonic clock.
    pub begun: u64,
    pub ended: u64,
}

impl Operation {
    fn latest(&self) -> u64 {
        if self.answer == Answer::Unknown { self.ended + LATEST_EFFECT } else { self.ended }
    }

    /// The states in which the family may be afterwards.
    fn outcomes(&self, before: &Model) -> Vec<Model> {
        let mut after = before.clone();
        let due = match self.asked {
            Asked::Refresh(place) => match after.refresh(Some(TokenId { family: 0, place }), None) {
                (Due::Tokens { .. }, _) => Answer::Done,
                _ => Answer::Refused,
            },
            Asked::Revoke(place) => {
                after.revoke(Some(TokenId { family: 0, place }));
                Answer::Done
            }
        };
        match self.answer {
            Answer::Unknown => vec![before.clone(), after],
            answer if answer == due => vec![after],
            _ => Vec::new(),
        }
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10} {:>10} {:?} {:?}", self.begun, self.ended, self.asked, self.answer)
    }
}

/// Returns how many states it visited, or why there is no explanation.
pub fn explain(history: &[Operation]) -> Result<usize, String> {
    assert!(history.len() < 128, "the history is too long");
    let all = (1_u128 << history.len()) - 1;
    let mut begun = Model::new(Times { absolute: u64::MAX, idle: u64::MAX, grace: None });
    begun.log_in(0, None);
    let (mut seen, mut open) = (HashSet::new(), vec![(0_u128, begun)]);
    while let Some((taken, family)) = open.pop() {
        if taken == all {
            return Ok(seen.len());
        }
        if !seen.insert((taken, family.clone())) {
            continue;
        }
        if seen.len() > MOST_STATES {
            return Err(format!("no verdict within {MOST_STATES} states"));
        }
        let left = || history.iter().enumerate().filter(|(n, _)| taken & (1 << n) == 0);
        let first_end = left().map(|(_, operation)| operation.latest()).min().unwrap_or(u64::MAX);
        for (n, operation) in left().filter(|(_, operation)| operation.begun <= first_end) {
            open.extend(operation.outcomes(&family).into_iter().map(|family| (taken | (1 << n), family)));
        }
    }
    Err("no order of the operations explains the answers".to_owned())
}

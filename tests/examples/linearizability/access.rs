//! Access tokens, which the deny list ends: in the process that revoked one at once, in the others within a second, and
//! for good.

use std::net::SocketAddr;

/// In microseconds: within a second, a process that can reach the store knows of a revocation. The rest is for busy machines.
pub const LAG: u64 = 3_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server said 200 to its revocation.
    Revoked,
    Accepted,
    Refused,
}

/// What happened to one token.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub event: Event,
    /// A server that is started again is another process.
    pub process: SocketAddr,
    /// In microseconds of a monotonic clock.
    pub begun: u64,
    pub ended: u64,
}

/// An error if a token was accepted where it had to be refused. `calm_from` is when the last fault was over.
pub fn check(history: &[Moment], calm_from: u64) -> Result<(), String> {
    for accepted in history.iter().filter(|moment| moment.event == Event::Accepted) {
        let ends = history.iter().filter(|moment| moment.event != Event::Accepted && moment.ended < accepted.begun);
        for end in ends {
            let is_known = accepted.begun >= end.ended.max(calm_from) + LAG;
            if is_known || end.process == accepted.process {
                return Err(format!("{accepted:?} after {end:?}"));
            }
        }
    }
    Ok(())
}

#[test]
fn a_token_that_is_accepted_after_its_end_is_found() {
    let process = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let moment = |event, port, begun| Moment { event, process: process(port), begun, ended: begun + 10 };
    let (revoked, refused) = (moment(Event::Revoked, 1, 100), moment(Event::Refused, 2, 200));
    for (what, accepted, is_good) in [
        ("at the same time", moment(Event::Accepted, 1, 105), true),
        ("by another process, a moment later", moment(Event::Accepted, 3, 300), true),
        ("by another process, while there are faults", moment(Event::Accepted, 3, 900 + LAG), true),
        ("by the process that revoked it", moment(Event::Accepted, 1, 300), false),
        ("by a process that refused it", moment(Event::Accepted, 2, 300), false),
        ("by another process, too late", moment(Event::Accepted, 3, 1_000 + LAG), false),
    ] {
        assert_eq!(check(&[revoked, refused, accepted], 1_000).is_ok(), is_good, "{what}");
    }
}

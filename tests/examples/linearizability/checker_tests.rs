//! Handwritten histories that the checker must accept or reject.

use crate::checker::{
    Answer::{self, Done, Refused, Unknown},
    Asked::{self, Refresh, Revoke},
    LATEST_EFFECT, Operation, explain,
};

const LATE: u64 = 100 + LATEST_EFFECT;

fn explained(operations: &[(u64, u64, Asked, Answer)]) -> bool {
    let operation = |&(begun, ended, asked, answer)| Operation { asked, answer, begun, ended };
    explain(&operations.iter().map(operation).collect::<Vec<_>>()).is_ok()
}

#[test]
fn possible_histories_are_accepted() {
    for (case, history) in [
        ("nothing", &[][..]),
        ("one after the other", &[(0, 10, Refresh(0), Done), (20, 30, Refresh(1), Done)]),
        (
            "the loser of two at once ends the line",
            &[(0, 10, Refresh(0), Done), (0, 10, Refresh(0), Refused), (20, 30, Refresh(1), Refused)],
        ),
        (
            "the winner's successor is used before the loser is told",
            &[
                (0, 30, Refresh(0), Refused),
                (0, 10, Refresh(0), Done),
                (12, 20, Refresh(1), Done),
                (40, 50, Refresh(2), Refused),
            ],
        ),
        (
            "revoked, by an old token, too",
            &[
                (0, 10, Refresh(0), Done),
                (20, 30, Revoke(0), Done),
                (40, 50, Refresh(1), Refused),
                (60, 70, Revoke(1), Done),
            ],
        ),
        ("a use and a revocation at once, either first", &[(0, 10, Refresh(0), Done), (0, 10, Revoke(0), Done)]),
        ("a use and a revocation at once, the other first", &[(0, 10, Refresh(0), Refused), (0, 10, Revoke(0), Done)]),
        ("an unknown use that did nothing", &[(0, 100, Refresh(0), Unknown), (110, 120, Refresh(0), Done)]),
        (
            "an unknown use that spent the token",
            &[(0, 100, Refresh(0), Unknown), (110, 120, Refresh(0), Refused), (130, 140, Refresh(0), Refused)],
        ),
        (
            "an unknown use that came between",
            &[(0, 100, Refresh(0), Unknown), (110, 120, Refresh(0), Done), (130, 140, Refresh(1), Refused)],
        ),
        (
            "an unknown revocation that took effect as late as it may",
            &[
                (0, 100, Revoke(0), Unknown),
                (110, 120, Refresh(0), Done),
                (LATE - 2, LATE - 1, Refresh(1), Done),
                (LATE, LATE + 5, Refresh(2), Refused),
            ],
        ),
    ] {
        assert!(explained(history), "{case}");
    }
}

#[test]
fn impossible_histories_are_found() {
    for (case, history) in [
        ("two winners at once", &[(0, 10, Refresh(0), Done), (0, 10, Refresh(0), Done)][..]),
        ("two winners, one after the other", &[(0, 10, Refresh(0), Done), (20, 30, Refresh(0), Done)]),
        ("refused without a reason", &[(0, 10, Refresh(0), Refused)]),
        ("accepted after its revocation", &[(0, 10, Revoke(0), Done), (20, 30, Refresh(0), Done)]),
        (
            "accepted after its line was revoked by an older token",
            &[(0, 10, Refresh(0), Done), (20, 30, Revoke(0), Done), (40, 50, Refresh(1), Done)],
        ),
        (
            "accepted after a reuse was answered",
            &[(0, 10, Refresh(0), Done), (20, 30, Refresh(0), Refused), (40, 50, Refresh(1), Done)],
        ),
        ("a use before the token was there", &[(0, 10, Refresh(1), Done), (20, 30, Refresh(0), Done)]),
        (
            "two winners, and an unknown use that explains nothing",
            &[(0, 100, Refresh(0), Unknown), (110, 120, Refresh(0), Done), (130, 140, Refresh(0), Done)],
        ),
        ("an unknown use that only began afterwards", &[(0, 10, Refresh(0), Refused), (20, 30, Refresh(0), Unknown)]),
        (
            "an unknown revocation that took effect too late",
            &[
                (0, 100, Revoke(0), Unknown),
                (LATE + 1, LATE + 2, Refresh(0), Done),
                (LATE + 3, LATE + 4, Refresh(1), Refused),
            ],
        ),
        (
            "an unknown use that took effect, and then did not",
            &[(0, 100, Refresh(0), Unknown), (110, 120, Refresh(0), Refused), (130, 140, Refresh(0), Done)],
        ),
    ] {
        assert!(!explained(history), "{case}");
    }
}

//! Codes of authenticator apps and recovery codes: which are right, and how often.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod endpoint;
mod fails_closed;
mod programs;
mod recovery;
mod table;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use futures_util::future::join_all;
use proptest::prelude::*;
use tower_oauth2_password::{BoxError, FactorCode, FactorVerdict, Identity, SecondFactor, TokenError};
use tower_oauth2_password_totp::{FactorTable, MemoryFactors, Totp, TotpSecret};

/// The secret of RFC 6238, appendix B: `12345678901234567890`.
const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// Codes of that secret and the first second that they belong to. Those of the appendix have eight digits; these are the last six.
const VECTORS: [(u64, &str); 6] = [
    (30, "287082"),
    (1_111_111_080, "081804"),
    (1_111_111_110, "050471"),
    (1_234_567_890, "005924"),
    (2_000_000_000 - 20, "279037"),
    (20_000_000_000 - 20, "353130"),
];

/// A second factor with a clock, and alice, who enrolled long ago.
struct Site {
    table: MemoryFactors,
    totp: Totp<MemoryFactors>,
    now: Arc<AtomicU64>,
}

impl Site {
    async fn new() -> Self {
        let (table, now) = (MemoryFactors::new(), Arc::new(AtomicU64::new(0)));
        table.enroll("alice", &secret(), 0, &[]).await.unwrap();
        let clock = Arc::clone(&now);
        let totp = Totp::new(table.clone()).with_clock(move || clock.load(Relaxed));
        Self { table, totp, now }
    }

    async fn at(time: u64) -> Self {
        let site = Self::new().await;
        site.now.store(time, Relaxed);
        site
    }

    async fn is_right(&self, otp: &str) -> bool {
        is_accepted(&self.totp, otp).await
    }
}

fn secret() -> TotpSecret {
    TotpSecret::from_base32(SECRET).unwrap()
}

async fn is_accepted(totp: &Totp<impl FactorTable>, otp: &str) -> bool {
    match totp.verify("alice", FactorCode::Otp(otp.into())).await.unwrap() {
        FactorVerdict::Accepted { amr, recovery_code } => {
            assert_eq!((amr, recovery_code.is_none()), ("otp", true));
            true
        }
        _ => false,
    }
}

fn is_invalid_request(error: &BoxError) -> bool {
    error.downcast_ref::<TokenError>().is_some_and(|error| error.code() == "invalid_request")
}

#[tokio::test]
async fn codes_are_those_of_rfc_6238() {
    for (time, code) in VECTORS {
        assert!(Site::at(time).await.is_right(code).await, "{time}");
    }
}

#[tokio::test]
async fn a_code_is_right_one_step_early_or_late_and_not_two() {
    for (time, code) in VECTORS {
        for now in [time - 30, time, time + 29, time + 59] {
            assert!(Site::at(now).await.is_right(code).await, "{code} at {now}");
        }
        for now in time.checked_sub(31).into_iter().chain([time + 60]) {
            assert!(!Site::at(now).await.is_right(code).await, "{code} at {now}");
        }
    }
}

#[tokio::test]
async fn a_code_is_right_once() {
    let site = Site::at(1_111_111_109).await;
    assert!(site.is_right("081804").await);
    for _ in 0..2 {
        assert!(!site.is_right("081804").await);
        site.now.fetch_add(30, Relaxed);
    }
}

#[tokio::test]
async fn an_older_code_is_wrong_after_a_newer_one() {
    let site = Site::at(1_111_111_109).await;
    assert!(site.is_right("050471").await, "of the step to come");
    assert!(!site.is_right("081804").await, "of this step");
    site.now.fetch_add(30, Relaxed);
    assert!(!site.is_right("050471").await);
}

#[tokio::test]
async fn of_many_tasks_with_one_code_one_is_accepted() {
    for _ in 0..50 {
        let site = Arc::new(Site::at(59).await);
        let tasks = (0..8).map(|_| {
            tokio::spawn({
                let site = Arc::clone(&site);
                async move { site.is_right("287082").await }
            })
        });
        let accepted = join_all(tasks).await.into_iter().filter(|answer| *answer.as_ref().unwrap()).count();
        assert_eq!(accepted, 1);
    }
}

#[tokio::test]
async fn codes_of_other_users_and_of_nobody_are_wrong() {
    let site = Site::at(59).await;
    site.table.enroll("bob", &TotpSecret::generate().unwrap(), 0, &[]).await.unwrap();
    for subject in ["bob", "nobody", ""] {
        let verdict = site.totp.verify(subject, FactorCode::Otp("287082".into())).await.unwrap();
        assert!(matches!(verdict, FactorVerdict::Denied), "{subject}");
    }
    assert!(site.is_right("287082").await, "it was not used up");
}

#[tokio::test]
async fn who_has_a_secret_is_asked() {
    let site = Site::new().await;
    assert!(site.totp.is_required(&Identity::new("alice")).await.unwrap());
    assert!(!site.totp.is_required(&Identity::new("bob")).await.unwrap());
    site.table.remove("alice");
    assert!(!site.totp.is_required(&Identity::new("alice")).await.unwrap());
}

#[tokio::test]
async fn what_cannot_be_a_code_is_an_invalid_request_and_spends_nothing() {
    let site = Site::at(59).await;
    for otp in [
        "",
        "28708",
        "2870820",
        "0287082",
        " 287082",
        "287 82",
        "+87082",
        "28708a",
        "٢٨٧",
        "２８",
        "287-082",
        "1e5\0\0\0",
    ] {
        let error = site.totp.verify("alice", FactorCode::Otp(otp.into())).await.unwrap_err();
        assert!(is_invalid_request(&error), "{otp:?}: {error}");
    }
    assert!(site.is_right("287082").await);
}

#[tokio::test]
async fn a_first_code_enrols_and_is_used_up() {
    let site = Site::at(59).await;
    let new = TotpSecret::from_base32("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP").unwrap();
    let code = programs::oathtool(&new, 59);
    assert!(site.totp.enroll("alice", &new, "287082").await.unwrap().is_none(), "a code of the old secret");
    assert!(site.is_right("287082").await, "nothing was changed");
    let codes = site.totp.enroll("alice", &new, &code).await.unwrap().unwrap();
    assert_eq!(codes.texts().count(), 10);
    assert!(!site.is_right(&code).await, "it was used to enrol");
    site.now.fetch_add(30, Relaxed);
    assert!(site.is_right(&programs::oathtool(&new, 89)).await);
    let first = codes.texts().next().unwrap();
    let verdict = site.totp.verify("alice", FactorCode::Recovery(first.into())).await.unwrap();
    assert!(matches!(verdict, FactorVerdict::Accepted { amr: "otp", recovery_code: None }));
}

#[tokio::test]
async fn a_secret_in_use_is_not_enrolled_again() {
    let site = Site::at(1_111_111_109).await;
    assert!(site.is_right("050471").await, "of the step to come");
    let error = site.totp.enroll("alice", &secret(), "081804").await.unwrap_err();
    assert!(is_invalid_request(&error), "{error}");
    assert!(!site.is_right("050471").await, "its last step did not go back");
}

#[test]
fn weak_and_broken_secrets_are_refused() {
    for text in [
        "",
        "GEZDGNBV",
        "gezdgnbvgy3tqojqgezdgnbvgy3tqojq",
        "GEZDGNBVGY3TQOJQGEZDGNBV",
        "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJ0",
        "秘密",
        &"A".repeat(104),
    ] {
        assert!(TotpSecret::from_base32(text).is_err(), "{text}");
    }
    for text in ["A".repeat(26), "A".repeat(102)] {
        assert!(TotpSecret::from_base32(&text).is_ok(), "{text}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let totp = Totp::new(MemoryFactors::new());
    let table = MemoryFactors::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(table.enroll("alice", &secret(), 7, &[])).unwrap();
    let printed = format!("{totp:?} {table:?} {:?} {:?}", secret(), secret().url("Tea", "alice").unwrap());
    assert!(!printed.contains(SECRET) && !printed.contains("12345678901234567890"), "{printed}");
    let bytes = format!("{:?}", b"12345678901234567890");
    assert!(!printed.contains(bytes.trim_matches(['[', ']'])), "{printed}");
}

#[test]
fn an_issuer_that_ends_early_is_refused() {
    for issuer in ["", "Tea: Co"] {
        assert!(secret().url(issuer, "alice").is_err());
    }
}

#[tokio::test]
async fn a_clock_far_off_accepts_nothing_and_does_not_panic() {
    for now in [u64::MAX, u64::MAX - 31, 0] {
        assert!(!Site::at(now).await.is_right("287083").await, "{now}");
    }
}

proptest! {
    #[test]
    fn no_input_panics(text in any::<String>(), digits in "[0-9]{6}", letters in "[A-Z2-7a-z-]{20,32}", now: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let site = Site::at(now).await;
            for text in [&text, &digits, &letters] {
                let _ = site.totp.verify(text, FactorCode::Otp(text.as_str().into())).await;
                let _ = site.totp.verify("alice", FactorCode::Otp(text.as_str().into())).await;
                let _ = site.totp.verify("alice", FactorCode::Recovery(text.as_str().into())).await;
                let _ = site.totp.enroll("bob", &secret(), text).await;
                let _ = TotpSecret::from_base32(text);
                let _ = secret().url(text, text);
            }
        });
    }
}

//! Recovery codes.

use tower_oauth2_password_totp::RecoveryCodes;

use super::*;

/// alice has these codes, and bob has others.
async fn enrolled(
    totp: impl FnOnce(Totp<MemoryFactors>) -> Totp<MemoryFactors>,
) -> (Totp<MemoryFactors>, RecoveryCodes) {
    let (table, codes) = (MemoryFactors::new(), RecoveryCodes::generate(10).unwrap());
    table.enroll("alice", &secret(), 0, &codes.hashes()).await.unwrap();
    table.enroll("bob", &secret(), 0, &RecoveryCodes::generate(10).unwrap().hashes()).await.unwrap();
    (totp(Totp::new(table).with_clock(|| 59)), codes)
}

/// The successor of a code, or `Err` if the code was wrong.
async fn used(totp: &Totp<MemoryFactors>, subject: &str, code: &str) -> Result<Option<String>, ()> {
    match totp.verify(subject, FactorCode::Recovery(code.into())).await.unwrap() {
        FactorVerdict::Accepted { amr, recovery_code } => {
            assert_eq!(amr, "otp");
            Ok(recovery_code.map(|code| code.expose().to_owned()))
        }
        _ => Err(()),
    }
}

#[tokio::test]
async fn each_recovery_code_is_right_once_for_its_user() {
    let (totp, codes) = enrolled(|totp| totp).await;
    for code in codes.texts() {
        assert_eq!(used(&totp, "bob", code).await, Err(()), "of alice");
        assert_eq!(used(&totp, "nobody", code).await, Err(()));
        let typed = code.replace('-', "").to_lowercase();
        assert_eq!(used(&totp, "alice", &typed).await, Ok(None));
        for again in [code, &typed] {
            assert_eq!(used(&totp, "alice", again).await, Err(()), "again");
        }
    }
    let guess = RecoveryCodes::generate(1).unwrap();
    assert_eq!(used(&totp, "alice", guess.texts().next().unwrap()).await, Err(()));
    assert!(is_accepted(&totp, "287082").await, "the app goes on");
}

#[tokio::test]
async fn of_many_tasks_with_one_recovery_code_one_is_accepted() {
    let (totp, codes) = enrolled(Totp::with_new_recovery_codes).await;
    for code in codes.texts() {
        let tasks = (0..8).map(|_| {
            tokio::spawn({
                let (totp, code) = (totp.clone(), code.to_owned());
                async move { used(&totp, "alice", &code).await }
            })
        });
        let accepted = join_all(tasks).await.into_iter().filter(|answer| answer.as_ref().unwrap().is_ok()).count();
        assert_eq!(accepted, 1);
    }
}

#[tokio::test]
async fn a_successor_is_right_once_and_has_one_of_its_own() {
    let (totp, codes) = enrolled(Totp::with_new_recovery_codes).await;
    let first = codes.texts().next().unwrap();
    let second = used(&totp, "alice", first).await.unwrap().unwrap();
    assert_eq!(used(&totp, "alice", first).await, Err(()));
    assert_eq!(used(&totp, "bob", &second).await, Err(()));
    let third = used(&totp, "alice", &second).await.unwrap().unwrap();
    assert_eq!(used(&totp, "alice", &second).await, Err(()));
    assert!(used(&totp, "alice", &third).await.is_ok());
}

#[tokio::test]
async fn what_cannot_be_a_recovery_code_is_an_invalid_request() {
    let (totp, codes) = enrolled(|totp| totp).await;
    let code = codes.texts().next().unwrap();
    let one_less = &code[1..];
    for typed in [
        "",
        "-",
        "287082",
        one_less,
        &format!("{code}A"),
        &code.replace('-', " "),
        &format!("1{one_less}"),
        &format!("é{one_less}"),
    ] {
        let error = totp.verify("alice", FactorCode::Recovery(typed.into())).await.unwrap_err();
        assert!(is_invalid_request(&error), "{typed:?}: {error}");
    }
    assert_eq!(used(&totp, "alice", code).await, Ok(None), "nothing was spent");
}

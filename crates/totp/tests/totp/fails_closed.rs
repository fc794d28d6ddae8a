//! A table that is away lets nobody in.

use tower_oauth2_password_totp::{RecoveryCodeHash, RecoveryCodes};

use super::*;

/// Fails in one of its calls.
#[derive(Clone)]
pub(crate) struct Broken(MemoryFactors, &'static str);

impl Broken {
    fn check(&self, call: &str) -> Result<(), BoxError> {
        if self.1 == call { Err("the table is away".into()) } else { Ok(()) }
    }
}

impl FactorTable for Broken {
    async fn secret(&self, subject: &str) -> Result<Option<TotpSecret>, BoxError> {
        self.check("secret")?;
        self.0.secret(subject).await
    }

    async fn enroll(
        &self,
        subject: &str,
        secret: &TotpSecret,
        step: u64,
        codes: &[RecoveryCodeHash],
    ) -> Result<(), BoxError> {
        self.check("enroll")?;
        self.0.enroll(subject, secret, step, codes).await
    }

    async fn use_step(&self, subject: &str, step: u64) -> Result<bool, BoxError> {
        self.check("use_step")?;
        self.0.use_step(subject, step).await
    }

    async fn use_recovery_code(
        &self,
        subject: &str,
        used: &RecoveryCodeHash,
        successor: Option<&RecoveryCodeHash>,
    ) -> Result<bool, BoxError> {
        self.check("use_recovery_code")?;
        self.0.use_recovery_code(subject, used, successor).await
    }
}

/// alice has the secret of the RFC, and it is the second 59.
pub(crate) async fn broken(call: &'static str) -> Totp<Broken> {
    let table = MemoryFactors::new();
    table.enroll("alice", &secret(), 0, &[]).await.unwrap();
    Totp::new(Broken(table, call)).with_clock(|| 59)
}

#[tokio::test]
async fn a_table_that_is_away_accepts_nothing_and_spends_nothing() {
    let (table, codes) = (MemoryFactors::new(), RecoveryCodes::generate(1).unwrap());
    table.enroll("alice", &secret(), 0, &codes.hashes()).await.unwrap();
    let (otp, recovery) =
        (|| FactorCode::Otp("287082".into()), || FactorCode::Recovery(codes.texts().next().unwrap().into()));
    let broken = |call| Totp::new(Broken(table.clone(), call)).with_clock(|| 59);
    let is_away = |error: BoxError| error.to_string() == "the table is away";

    assert!(is_away(broken("secret").is_required(&Identity::new("alice")).await.unwrap_err()));
    assert!(is_away(broken("secret").verify("alice", otp()).await.unwrap_err()));
    assert!(is_away(broken("use_step").verify("alice", otp()).await.unwrap_err()));
    assert!(is_away(broken("use_recovery_code").verify("alice", recovery()).await.unwrap_err()));
    let new = TotpSecret::generate().unwrap();
    let first = programs::oathtool(&new, 59);
    for call in ["secret", "enroll"] {
        assert!(is_away(broken(call).enroll("alice", &new, &first).await.unwrap_err()), "{call}");
    }

    let whole = broken("");
    for code in [otp(), recovery()] {
        assert!(matches!(whole.verify("alice", code).await.unwrap(), FactorVerdict::Accepted { .. }));
    }
}

//! The contract of tables, and that it notices what breaks it.
#![cfg(feature = "testkit")]

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::task::yield_now;
use tower_oauth2_password_totp::{RecoveryCodeHash, testkit};

use super::*;

/// What is wrong with a table.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// It reads, awaits, and then writes.
    StepsRace,
    CodesRace,
    StepsGoBack,
    StepsAre32Bits,
    OneStepForAll,
    CodesOfAll,
    CodesStay,
    NoSuccessor,
    SuccessorOfAWrongCode,
    OldCodesStay,
    OldSecretStays,
}

/// A table with a fault, and the steps and codes that it has seen.
struct Faulty(MemoryFactors, Fault, std::sync::Mutex<Vec<(u64, RecoveryCodeHash)>>);

impl FactorTable for Faulty {
    async fn secret(&self, subject: &str) -> Result<Option<TotpSecret>, BoxError> {
        self.0.secret(subject).await
    }

    async fn enroll(
        &self,
        subject: &str,
        secret: &TotpSecret,
        step: u64,
        codes: &[RecoveryCodeHash],
    ) -> Result<(), BoxError> {
        let old = self.0.secret(subject).await?;
        let kept = old.filter(|_| self.1 == Fault::OldSecretStays);
        let mut all = codes.to_vec();
        {
            let mut known = self.2.lock().unwrap();
            let owner = u64::from(subject.ends_with('2'));
            known.extend(codes.iter().map(|code| (owner, *code)));
            let stays = |known: &&(u64, RecoveryCodeHash)| self.1 == Fault::OldCodesStay && known.0 == owner;
            all.extend(known.iter().filter(stays).map(|(_, code)| *code));
        }
        self.0.enroll(subject, kept.as_ref().unwrap_or(secret), step, &all).await
    }

    async fn use_step(&self, subject: &str, step: u64) -> Result<bool, BoxError> {
        match self.1 {
            Fault::StepsRace if subject.ends_with('1') => {
                // Right or wrong is decided here, and written later.
                let last = { self.2.lock().unwrap().iter().map(|(step, _)| *step).max().unwrap_or(0) };
                let right = self.0.secret(subject).await?.is_some() && step > last.max(100);
                yield_now().await;
                let _ = self.0.use_step(subject, step).await?;
                if right {
                    self.2.lock().unwrap().push((step, RecoveryCodeHash::from_bytes([0; 32])));
                }
                Ok(right)
            }
            Fault::StepsGoBack => Ok(self.0.secret(subject).await?.is_some() && step > 100),
            Fault::StepsAre32Bits => self.0.use_step(subject, step & u64::from(u32::MAX)).await,
            Fault::OneStepForAll if subject.ends_with('2') => self.0.use_step("testkit 1", step).await,
            _ => self.0.use_step(subject, step).await,
        }
    }

    async fn use_recovery_code(
        &self,
        subject: &str,
        used: &RecoveryCodeHash,
        successor: Option<&RecoveryCodeHash>,
    ) -> Result<bool, BoxError> {
        match self.1 {
            Fault::CodesRace => {
                // Puts back what it took, and takes it later.
                let had = self.0.use_recovery_code(subject, used, Some(successor.unwrap_or(used))).await?;
                yield_now().await;
                if had && successor.is_none() {
                    let _ = self.0.use_recovery_code(subject, used, None).await?;
                }
                Ok(had)
            }
            Fault::CodesOfAll => Ok(self.0.use_recovery_code("testkit 1", used, successor).await?
                || self.0.use_recovery_code("testkit 2", used, successor).await?),
            Fault::CodesStay => self.0.use_recovery_code(subject, used, Some(used)).await,
            Fault::NoSuccessor => self.0.use_recovery_code(subject, used, None).await,
            Fault::SuccessorOfAWrongCode => {
                let had = self.0.use_recovery_code(subject, used, successor).await?;
                let mut wanted = self.2.lock().unwrap();
                wanted.extend(successor.map(|code| (u64::MAX, *code)));
                Ok(had || wanted.iter().any(|(mark, code)| *mark == u64::MAX && code == used))
            }
            _ => self.0.use_recovery_code(subject, used, successor).await,
        }
    }
}

#[tokio::test]
async fn the_table_in_memory_keeps_the_contract() {
    testkit::factor_table(&MemoryFactors::new()).await.unwrap();
}

#[tokio::test]
async fn the_contract_notices_each_fault() {
    for (fault, clause) in [
        (Fault::StepsRace, "`use_step` is one atomic step"),
        (Fault::CodesRace, "`use_recovery_code` is one atomic step"),
        (Fault::StepsGoBack, "a step that is not later than the last is wrong"),
        (Fault::StepsAre32Bits, "steps have more than 32 bits"),
        (Fault::OneStepForAll, "each subject is on its own"),
        (Fault::CodesOfAll, "the recovery code of another user is wrong"),
        (Fault::CodesStay, "a recovery code is right once, and not twice"),
        (Fault::NoSuccessor, "a successor is right once"),
        (Fault::SuccessorOfAWrongCode, "a wrong code gets no successor"),
        (Fault::OldCodesStay, "`enroll` replaces the recovery codes"),
        (Fault::OldSecretStays, "`enroll` replaces the secret"),
    ] {
        let table = Faulty(MemoryFactors::new(), fault, std::sync::Mutex::default());
        let panic = AssertUnwindSafe(testkit::factor_table(&table)).catch_unwind().await.expect_err(clause);
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains(clause), "{clause}: {message}");
    }
}

//! A second factor of the app: authenticator apps, whose codes pyotp computes, and recovery codes.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tower_oauth2_password::{BoxError, FactorCode, FactorVerdict, Identity, SecondFactor};

use super::{file, python};

/// Seconds that a code is of.
const STEP: u64 = 30;

#[derive(Clone)]
pub struct Factors(Arc<Mutex<BTreeMap<String, Factor>>>);

struct Factor {
    secret: String,
    last_step: u64,
    recovery_code: String,
    recoveries: u32,
}

impl Factors {
    pub fn new<const N: usize>(users: [&str; N]) -> Self {
        let factor = |(number, user): (usize, &str)| {
            // 160 bits in base32, and others for each user.
            let secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PX".to_owned() + &"ABCDEFGH"[number % 8..=number % 8];
            (user.to_owned(), Factor { secret, last_step: 0, recovery_code: format!("{user}-0"), recoveries: 0 })
        };
        Self(Arc::new(Mutex::new(users.into_iter().enumerate().map(factor).collect())))
    }

    /// What the users have, by their names.
    pub fn secrets(&self) -> BTreeMap<String, Value> {
        let factors = self.0.lock().unwrap();
        let known = |factor: &Factor| json!({ "secret": factor.secret, "recoveryCode": factor.recovery_code });
        factors.iter().map(|(user, factor)| (user.clone(), known(factor))).collect()
    }

    /// Uses up a code of this step, the one before or the one after.
    async fn otp(&self, subject: &str, code: &str) -> Result<bool, BoxError> {
        let step = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / STEP;
        let steps = [step - 1, step, step + 1];
        let mut command = Command::new(python());
        command.arg(file("tests/clients/python/otp.py")).arg(&self.0.lock().unwrap()[subject].secret);
        command.args(steps.map(|step| (step * STEP).to_string()));
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let codes = String::from_utf8(output.stdout)?;
        let found = codes.lines().zip(steps).find(|(right, _)| *right == code);
        let Some((_, step)) = found else { return Ok(false) };
        let mut factors = self.0.lock().unwrap();
        let factor = factors.get_mut(subject).ok_or("nobody")?;
        let is_new = factor.last_step < step;
        factor.last_step = factor.last_step.max(step);
        Ok(is_new)
    }

    /// Replaces a recovery code that is used.
    fn recover(&self, subject: &str, code: &str) -> Option<String> {
        let mut factors = self.0.lock().unwrap();
        let factor = factors.get_mut(subject).filter(|factor| factor.recovery_code == code)?;
        factor.recoveries += 1;
        factor.recovery_code = format!("{subject}-{}", factor.recoveries);
        Some(factor.recovery_code.clone())
    }
}

impl SecondFactor for Factors {
    async fn is_required(&self, user: &Identity) -> Result<bool, BoxError> {
        Ok(self.0.lock().unwrap().contains_key(user.subject()))
    }

    async fn verify(&self, subject: &str, code: FactorCode) -> Result<FactorVerdict, BoxError> {
        Ok(match code {
            FactorCode::Otp(code) if self.otp(subject, code.expose()).await? => {
                FactorVerdict::Accepted { amr: "otp", recovery_code: None }
            }
            FactorCode::Recovery(code) => match self.recover(subject, code.expose()) {
                Some(next) => FactorVerdict::Accepted { amr: "otp", recovery_code: Some(next.into()) },
                None => FactorVerdict::Denied,
            },
            _ => FactorVerdict::Denied,
        })
    }
}

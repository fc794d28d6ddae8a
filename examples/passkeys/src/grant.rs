//! The table of passkeys, and the grant that takes what one of them signed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tower_oauth2_password::{BoxError, GrantRequest, MemoryUsers, PasswordVerifier, TokenError, Verdict, Verifier};
use webauthn_rs::prelude::{
    DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential, Uuid, Webauthn, WebauthnError,
};

use crate::challenges::{Challenges, locked};

/// A row of the table.
pub(crate) struct Row {
    pub(crate) subject: String,
    pub(crate) id: Uuid,
    pub(crate) added: Instant,
    pub(crate) passkey: Passkey,
}

pub(crate) struct Passkeys {
    pub(crate) webauthn: Webauthn,
    pub(crate) users: PasswordVerifier<MemoryUsers>,
    pub(crate) rows: Mutex<Vec<Row>>,
    /// What authenticators know each user by: random, so that it says nothing, and always the same.
    pub(crate) handles: Mutex<HashMap<String, Uuid>>,
    pub(crate) registrations: Challenges<PasskeyRegistration>,
    pub(crate) logins: Challenges<DiscoverableAuthentication>,
}

pub(crate) fn refused(error: WebauthnError) -> TokenError {
    eprintln!("a passkey was refused: {error}");
    TokenError::invalid_request("This passkey cannot be used here")
}

impl Passkeys {
    pub(crate) fn handle_of(&self, subject: &str) -> Uuid {
        *locked(&self.handles).entry(subject.to_owned()).or_insert_with(Uuid::new_v4)
    }

    /// Whose passkey signed the challenge, on the page of this origin. Its counter moves on under the same lock.
    fn subject_of(&self, signed: &PublicKeyCredential, challenge: DiscoverableAuthentication) -> Option<String> {
        let (handle, id) = self.webauthn.identify_discoverable_authentication(signed).ok()?;
        let mut rows = locked(&self.rows);
        let row = rows.iter_mut().find(|row| row.passkey.cred_id() == id)?;
        if self.handle_of(&row.subject) != handle {
            return None;
        }
        let checked = self.webauthn.finish_discoverable_authentication_v2(signed, challenge, &row.passkey);
        row.passkey.update_credential(&checked.map_err(refused).ok()?);
        Some(row.subject.clone())
    }

    pub(crate) async fn log_in(self: Arc<Self>, request: GrantRequest) -> Result<Verdict, BoxError> {
        let (id, signed) = (request.required("challenge_id")?, request.required("credential")?);
        let signed = serde_json::from_str(signed.expose());
        let signed = signed.map_err(|_| TokenError::invalid_request("The credential is not WebAuthn JSON"))?;
        let challenge = self.logins.take(id.expose());
        let Some(subject) = challenge.and_then(|challenge| self.subject_of(&signed, challenge)) else {
            return Ok(Verdict::Denied);
        };
        Ok(match self.users.verify_subject(&subject).await? {
            // That the key is in hardware ("hwk"), or how the device knew its user ("pin", "fpt"), nobody attests.
            Verdict::Granted(user) if user.subject() == subject => user.with_amr(["pop", "user", "mfa"]).into(),
            _ => Verdict::Denied, // the account was closed
        })
    }
}

//! A grant of the app: by a code that was sent to a mail address.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::extract::{Path, State};
use tower_oauth2_password::{BoxError, ExtensionGrant, GrantRequest, Identity, Verdict};

/// The codes that were sent and not used, by address.
#[derive(Clone, Default)]
pub struct MailedCode(Arc<Mutex<HashMap<String, String>>>);

impl MailedCode {
    /// The mail arrives in the response.
    pub async fn send(State(codes): State<Self>, Path(address): Path<String>) -> String {
        let code = format!("code-of-{address}");
        codes.0.lock().unwrap().insert(address, code.clone());
        code
    }

    fn is_right(&self, address: &str, code: &str) -> bool {
        let mut codes = self.0.lock().unwrap();
        let is_right = codes.get(address).is_some_and(|sent| sent == code);
        if is_right {
            codes.remove(address);
        }
        is_right
    }
}

impl ExtensionGrant for MailedCode {
    async fn authorize(&self, request: GrantRequest) -> Result<Verdict, BoxError> {
        let (address, code) = (request.required("mail")?.expose(), request.required("code")?.expose());
        let attempt = request.reserve_attempt(address).await?;
        if self.is_right(address, code) {
            attempt.succeeded().await?;
            let scope = "items:read items:write".parse()?;
            return Ok(Identity::new("alice").with_scope(scope).with_amr(["otp"]).into());
        }
        attempt.failed().await?;
        Ok(Verdict::Denied)
    }
}

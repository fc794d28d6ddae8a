//! A second factor: authenticator apps and recovery codes, trusted devices, and a route that asks for a recent login with both
//! factors.
//!
//!     cargo run -p example-second-factor
//!     curl -d 'grant_type=password&username=alice&password=wonderland123' http://127.0.0.1:8000/token
//!
//! alice has no second factor yet. She gets one in two steps. `oathtool` (a Debian package) stands in for her phone:
//!
//!     curl -X POST -H "authorization: Bearer $TOKEN" http://127.0.0.1:8000/me/factor
//!     curl -d "$(oathtool --totp -b $SECRET)" -H "authorization: Bearer $TOKEN" http://127.0.0.1:8000/me/factor/confirm
//!
//! From now on the first request gets a 403 with an `mfa_token`, and one of these ends the login. Codes are good once, so wait for
//! the next. With `trust_device=true` the answer has a `device_token`, which replaces the code for 30 days:
//!
//!     curl -d grant_type=http://auth0.com/oauth/grant-type/mfa-otp -d "mfa_token=$MFA_TOKEN" \
//!         -d "otp=$(oathtool --totp -b $SECRET)" -d trust_device=true http://127.0.0.1:8000/token
//!     curl -d grant_type=http://auth0.com/oauth/grant-type/mfa-recovery-code -d "mfa_token=$MFA_TOKEN" \
//!         -d "recovery_code=$RECOVERY_CODE" http://127.0.0.1:8000/token
//!     curl -d "grant_type=password&username=alice&password=wonderland123&device_token=$DEVICE_TOKEN" http://127.0.0.1:8000/token
//!
//! Only a login with both factors in the last five minutes may remove the second (RFC 9470):
//!
//!     curl -i -X DELETE -H "authorization: Bearer $TOKEN" http://127.0.0.1:8000/me/factor

mod table;

use std::{collections::HashMap, env, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::routing::{delete, get, post};
use tokio::{net::TcpListener, sync::Mutex};
use tower_oauth2_password::{
    AccessToken, AttemptLimits, AuthorizationServer, BoxError, ClientAddress, Jwt, Key, MemoryUsers, PasswordVerifier,
    RefreshTokens, SecondFactors, TokenError,
    store::{MemoryAttemptStore, MemoryRefreshStore},
};
use tower_oauth2_password_totp::{FactorTable, Totp, TotpSecret};

use self::table::Factors;

/// "wonderland123", hashed with `HashingPool::hash`
const ALICE: &str = "$argon2id$v=19$m=19456,t=2,p=1$KtZ/zJOv10oETt4938BfPw$gQMO1zPMSvoazFlQqQALdbiJLvbHiIidHnyyT4KiPKQ";

const MONTH: Duration = Duration::from_secs(30 * 86_400);

#[derive(Clone)]
struct App {
    auth: AuthorizationServer,
    factors: Factors,
    totp: Totp<Factors>,
    /// Secrets that nobody has shown a code of yet, by user. Several processes keep them in the database.
    begun: Arc<Mutex<HashMap<String, TotpSecret>>>,
}

/// The errors of OAuth are sent as they are. Others are an outage.
fn refusal(error: BoxError) -> TokenError {
    error.downcast().map(|error| *error).unwrap_or_else(|cause| {
        eprintln!("a request failed: {cause}");
        TokenError::temporarily_unavailable(Duration::from_secs(1))
    })
}

/// A token alone must not replace a second factor: a thief could take the account over with it.
async fn without_factor(app: &App, subject: &str) -> Result<(), BoxError> {
    let error = TokenError::invalid_request("Remove the second factor first");
    if app.factors.secret(subject).await?.is_some() { Err(error.into()) } else { Ok(()) }
}

/// The URL that the page shows as a QR code.
async fn begin(token: AccessToken, State(app): State<App>) -> Result<String, TokenError> {
    let subject = token.subject();
    without_factor(&app, subject).await.map_err(refusal)?;
    let secret = TotpSecret::generate().map_err(refusal)?;
    let url = secret.url("Rabbit Hole", subject).map_err(|error| refusal(error.into()))?;
    app.begun.lock().await.insert(subject.to_owned(), secret);
    Ok(format!("{}\n", url.expose()))
}

/// The first code comes in, and the recovery codes go out, once. Logins without the second factor end.
async fn confirm(token: AccessToken, State(app): State<App>, code: String) -> Result<String, TokenError> {
    let subject = token.subject();
    without_factor(&app, subject).await.map_err(refusal)?;
    let secret = app.begun.lock().await.get(subject).cloned();
    let secret = secret.ok_or_else(|| TokenError::invalid_request("Begin first"))?;
    let enrolled = app.totp.enroll(subject, &secret, &code).await.map_err(refusal)?;
    let codes = enrolled.ok_or_else(|| TokenError::invalid_request("The code is wrong"))?;
    app.begun.lock().await.remove(subject);
    // The codes go out even if this fails: they are not shown again.
    if let Err(error) = app.auth.end_other_sessions(subject, token.session_id().unwrap_or_default()).await {
        eprintln!("older sessions of {subject} go on: {error}");
    }
    Ok(codes.texts().map(|code| format!("{code}\n")).collect())
}

async fn remove(token: AccessToken, State(app): State<App>) -> Result<(), TokenError> {
    app.factors.remove(token.subject()).await.map_err(refusal)?;
    // Here a mail to the user is sent, too.
    app.auth.revoke_subject(token.subject()).await.map(drop)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Put the URL of your own database here, and more connections.
    let factors = Factors::open("sqlite::memory:", 1).await?;
    let (totp, store, mut secret) = (Totp::new(factors.clone()), MemoryRefreshStore::new(), [0; 32]);
    getrandom::fill(&mut secret)?;
    let jwt = Jwt::new(Key::hs256(secret)?, "http://127.0.0.1:8000", "api");
    let users = PasswordVerifier::new(MemoryUsers::from_phc([("alice", ALICE, "items:read")])?);
    let peer = ClientAddress::peer(|peer: &ConnectInfo<SocketAddr>| peer.0);
    let second = SecondFactors::new(totp.clone(), MemoryRefreshStore::new());
    let auth = AuthorizationServer::new(users, jwt)
        .with_attempt_limits(AttemptLimits::new(MemoryAttemptStore::new(), peer))
        .with_refresh_tokens(RefreshTokens::new(store.clone()))
        .with_second_factor(second.with_trusted_devices(store, MONTH))
        .with_acr("urn:example:mfa", ["pwd", "otp"])?;
    let step_up = auth.guard().with_required_acr("urn:example:mfa")?.with_max_age(Duration::from_secs(300));
    let app = Router::new()
        .route("/me", get(async |token: AccessToken| format!("{}\n", token.subject())))
        .route("/me/factor", post(begin))
        .route("/me/factor/confirm", post(confirm))
        .route_layer(auth.guard())
        .route("/me/factor", delete(remove).layer(step_up))
        .layer(auth.endpoints())
        .with_state(App { auth, factors, totp, begun: Arc::default() });

    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

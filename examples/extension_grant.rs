//! A grant of your own (RFC 6749, section 4.5): users log in with a code that they got by mail, without a password.
//!
//!     cargo run --example extension_grant
//!     curl -d alice@api.example http://127.0.0.1:8000/codes
//!     curl -d grant_type=urn:example:mailed-code -d mail=alice@api.example -d code=$CODE http://127.0.0.1:8000/token
//!
//! The first stands in for a mail: it answers the code, and a real one would answer nothing. It answers everybody alike, so it
//! does not show which accounts exist. A code is good once, for five minutes.

use std::{collections::HashMap, env, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo, routing::post};
use tokio::{net::TcpListener, sync::Mutex, time::Instant};
use tower_oauth2_password::{
    AttemptLimits, AuthorizationServer, BoxError, ClientAddress, GrantRequest, Identity, Jwt, Key, Login, Verdict,
    store::MemoryAttemptStore,
};

const LIFETIME: Duration = Duration::from_secs(300);

/// Where each code was sent, and when. A table of yours keeps hashes of them, limits the mails to one address, and forgets.
type Codes = Arc<Mutex<HashMap<String, (String, Instant)>>>;

async fn mail(codes: Codes, address: String) -> Result<String, String> {
    // 128 bits. Nobody guesses one, so it is looked up and not compared.
    let random = || getrandom::u64().map_err(|error| error.to_string());
    let code = format!("{:016x}{:016x}", random()?, random()?);
    let mut codes = codes.lock().await;
    codes.retain(|_, (_, at)| at.elapsed() < LIFETIME);
    // Strangers must not fill the memory.
    if codes.len() >= 10_000 {
        return Err("Too many codes are out, try again later\n".to_owned());
    }
    codes.insert(code.clone(), (address, Instant::now()));
    Ok(code)
}

async fn log_in(codes: Codes, request: GrantRequest) -> Result<Verdict, BoxError> {
    let (mail, code) = (request.required("mail")?.expose(), request.required("code")?);
    let attempt = request.reserve_attempt(mail).await?;
    let sent = codes.lock().await.remove(code.expose());
    let right = sent.is_some_and(|(address, at)| address == mail && at.elapsed() < LIFETIME);
    // Nobody else has an account.
    if !right || mail != "alice@api.example" {
        attempt.failed().await?;
        return Ok(Verdict::Denied);
    }
    attempt.succeeded().await?;
    Ok(Identity::new("alice").with_amr(["otp"]).into())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (mut secret, codes) = ([0; 32], Codes::default());
    getrandom::fill(&mut secret)?;
    let jwt = Jwt::new(Key::hs256(secret)?, "http://127.0.0.1:8000", "api");
    let peer = ClientAddress::peer(|peer: &ConnectInfo<SocketAddr>| peer.0);
    let sent = Arc::clone(&codes);
    let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt)
        .with_attempt_limits(AttemptLimits::new(MemoryAttemptStore::new(), peer))
        .with_extension_grant("urn:example:mailed-code", ["mail", "code"], move |request| {
            log_in(Arc::clone(&sent), request)
        })?;
    let mails = post(async move |address: String| mail(codes, address).await);
    let app = Router::new().route("/codes", mails).layer(auth.endpoints());

    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

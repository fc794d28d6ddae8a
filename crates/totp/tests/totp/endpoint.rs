//! Whole logins over the token endpoint.

use hyper::Request;
use serde_json::Value;
use test_support::oneshot;
use tower_oauth2_password::{
    AuthorizationServer, Jwt, Key, Login, RefreshTokens, SecondFactors, TokenValidator, Verdict, Verifier,
    store::MemoryRefreshStore,
};

use super::*;

const NOW: u64 = 1_111_111_109;

struct Users;

impl Verifier for Users {
    async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
        let right = login.password.expose() == "right";
        Ok(if right { Identity::new(login.username).into() } else { Verdict::Denied })
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
        Ok(Identity::new(subject).into())
    }
}

fn jwt() -> Jwt {
    Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api").with_clock(|| NOW)
}

fn server(totp: Totp<impl FactorTable>) -> AuthorizationServer {
    let store = MemoryRefreshStore::new();
    AuthorizationServer::new(Users, jwt())
        .with_refresh_tokens(RefreshTokens::new(store.clone()))
        .with_second_factor(SecondFactors::new(totp, store))
}

async fn post(auth: &AuthorizationServer, form: &str) -> (u16, Value) {
    let (status, _, body) = oneshot::post_form(auth.endpoints().into_service(), Request::post("/token"), form).await;
    (status, body)
}

async fn password(auth: &AuthorizationServer) -> (u16, Value) {
    post(auth, "grant_type=password&username=alice&password=right").await
}

/// The status and the error of a second step, after a first one.
async fn with_code(auth: &AuthorizationServer, parameter: &str, code: &str) -> (u16, Value) {
    let (status, body) = password(auth).await;
    assert_eq!((status, &body["error"]), (403, &"mfa_required".into()), "{body}");
    let (token, grant) = (body["mfa_token"].as_str().unwrap(), parameter.replace('_', "-"));
    let grant = format!("http://auth0.com/oauth/grant-type/mfa-{grant}");
    post(auth, &format!("grant_type={grant}&mfa_token={token}&{parameter}={code}")).await
}

#[tokio::test]
async fn a_login_takes_the_password_and_a_code_which_is_good_once() {
    let auth = server(Site::at(NOW).await.totp);
    let (status, body) = with_code(&auth, "otp", "081804").await;
    assert_eq!(status, 200, "{body}");
    let token = jwt().validate(body["access_token"].as_str().unwrap()).unwrap();
    assert_eq!((token.subject(), token.claim("amr")), ("alice", Some(&serde_json::json!(["pwd", "otp", "mfa"]))));
    let (status, body) = with_code(&auth, "otp", "081804").await;
    assert_eq!((status, &body["error"]), (400, &"invalid_grant".into()));
    assert_eq!(with_code(&auth, "otp", "050471").await.0, 200, "the next one");
}

#[tokio::test]
async fn malformed_codes_do_not_count_and_wrong_ones_do() {
    let auth = server(Site::at(NOW).await.totp);
    for code in ["08180", "0818040", "abcdef", "08+180", "0٨1804"] {
        for _ in 0..3 {
            let (status, body) = with_code(&auth, "otp", code).await;
            assert_eq!((status, &body["error"]), (400, &"invalid_request".into()), "{code}");
        }
    }
    for _ in 0..4 {
        assert_eq!(with_code(&auth, "otp", "000000").await.1["error"], "invalid_grant");
    }
    assert_eq!(with_code(&auth, "otp", "081804").await.0, 200, "a right one clears the count");
    for _ in 0..5 {
        assert_eq!(with_code(&auth, "recovery_code", &"A".repeat(24)).await.1["error"], "invalid_grant");
    }
    assert_eq!(with_code(&auth, "otp", "050471").await.0, 429);
}

#[tokio::test]
async fn a_recovery_code_ends_a_login_and_its_successor_comes_back() {
    let site = Site::at(59).await;
    let new = TotpSecret::generate().unwrap();
    let codes = site.totp.enroll("alice", &new, &programs::oathtool(&new, 59)).await.unwrap().unwrap();
    let auth = server(site.totp.with_new_recovery_codes());
    let mut code = codes.texts().next().unwrap().to_owned();
    for _ in 0..3 {
        let (status, body) = with_code(&auth, "recovery_code", &code).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(with_code(&auth, "recovery_code", &code).await.0, 400, "again");
        code = body["recovery_code"].as_str().unwrap().to_owned();
    }
}

#[tokio::test]
async fn a_table_that_is_away_is_a_503_and_no_login() {
    let totp = fails_closed::broken("secret").await;
    let (status, body) = password(&server(totp)).await;
    assert_eq!((status, body["access_token"].is_null()), (503, true), "{body}");
    // The users are known, and the steps are not.
    let auth = server(fails_closed::broken("use_step").await);
    for _ in 0..6 {
        assert_eq!(with_code(&auth, "otp", "287082").await.0, 503, "an outage never counts");
    }
}

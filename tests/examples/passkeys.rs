//! Passkeys in a real Chromium, with the virtual authenticator of chromedriver.

use std::net::Ipv4Addr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use fantoccini::Client;
use serde_json::{Value, json};

use crate::{
    browser::{Driver, find, run, wait_for_text},
    client::{ALICE, BOB, post, request, try_post},
};
use test_support::{clock::Clock, example::Example, http::Reply};

const GRANT: &str = "urn:example:passkey";

/// What a page does for a login, short of the login: it returns what the passkey signed.
const SIGN: &str = "const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
    return (await navigator.credentials.get({ publicKey })).toJSON();";

struct Site {
    server: Example,
    driver: Driver,
    browser: Client,
    authenticator: String,
}

/// The answer to a request for a challenge.
struct Challenge {
    id: String,
    options: Value,
}

async fn challenge(server: &Example) -> Challenge {
    let reply = post(server, "/passkeys/challenge", "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    Challenge { id: reply.text("challenge_id"), options: reply.json()["options"].clone() }
}

fn page(server: &Example) -> String {
    format!("http://localhost:{}/", server.address.port())
}

/// The token request with this credential.
async fn log_in(server: &Example, challenge: &Challenge, credential: &Value) -> Reply {
    let encoded =
        |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let credential: String = credential.to_string().bytes().map(encoded).collect();
    let form = format!("grant_type={GRANT}&challenge_id={}&credential={credential}", challenge.id);
    assert!(form.len() < 4_096, "{} bytes: much of the 16 KiB of a body", form.len());
    post(server, "/token", &form).await
}

async fn bearer(server: &Example, login: &str) -> String {
    format!("Bearer {}", post(server, "/token", login).await.text("access_token"))
}

fn headers(bearer: &str) -> [(&str, &str); 2] {
    [("authorization", bearer), ("content-type", "application/json")]
}

#[track_caller]
fn assert_denied(reply: &Reply, why: &str) {
    assert_eq!((reply.status, reply.text("error").as_str()), (400, "invalid_grant"), "{why}: {reply:?}");
}

/// Changes one bit of a member of the signed response.
fn with_flipped_bit(credential: &Value, member: &str, byte: usize) -> Value {
    let mut changed = credential.clone();
    let mut bytes = URL_SAFE_NO_PAD.decode(changed["response"][member].as_str().unwrap()).unwrap();
    bytes[byte] ^= 1;
    changed["response"][member] = URL_SAFE_NO_PAD.encode(bytes).into();
    changed
}

impl Site {
    /// A browser that has an authenticator, on the page.
    async fn start() -> Self {
        let (server, driver) = (Example::start("passkeys", &[]), Driver::start());
        let browser = driver.browser(&[]).await;
        let kind = json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
            "isUserVerified": true, "isUserConsenting": true,
        });
        let id = driver.command(&browser, "POST", "webauthn/authenticator", &kind).await;
        let authenticator = format!("webauthn/authenticator/{}", id.as_str().unwrap());
        browser.goto(&page(&server)).await.unwrap();
        Self { server, driver, browser, authenticator }
    }

    /// The user has a passkey, and is logged in by password.
    async fn with_passkey() -> Self {
        let site = Self::start().await;
        site.log_in_by_password().await;
        site.click("#add").await;
        wait_for_text(&site.browser, "#passkeys", "Added just now").await;
        site
    }

    async fn click(&self, css: &str) {
        find(&self.browser, css).await.click().await.unwrap();
    }

    async fn log_in_by_password(&self) {
        find(&self.browser, "#username").await.send_keys("alice").await.unwrap();
        find(&self.browser, "#password").await.send_keys("wonderland123").await.unwrap();
        self.click("#use-password").await;
        wait_for_text(&self.browser, "#method", "with your password").await;
    }

    async fn authenticator(&self, method: &str, path: &str, body: &Value) -> Value {
        self.driver.command(&self.browser, method, &format!("{}/{path}", self.authenticator), body).await
    }

    async fn sign(&self, challenge: &Challenge) -> Value {
        let signed = run(&self.browser, &format!("const options = {}; {SIGN}", challenge.options)).await;
        assert!(signed["response"]["signature"].is_string(), "{signed}");
        signed
    }

    async fn end(self) {
        self.browser.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_adds_a_passkey_and_logs_in_without_name_and_password() {
    let site = Site::with_passkey().await;
    site.click("#log-out").await;
    site.click("#use-passkey").await;
    wait_for_text(&site.browser, "#method", "with a passkey").await;
    wait_for_text(&site.browser, "#name", "alice").await;
    let credentials = site.authenticator("GET", "credentials", &json!({})).await;
    let handle = URL_SAFE_NO_PAD.decode(credentials[0]["userHandle"].as_str().unwrap()).unwrap();
    assert_eq!(credentials.as_array().unwrap().len(), 1, "{credentials}");
    assert_eq!((handle.len(), &credentials[0]["isResidentCredential"]), (16, &json!(true)), "{credentials}");
    // The same device again.
    site.click("#add").await;
    wait_for_text(&site.browser, "#error", "has a passkey for your account already").await;

    let challenge = challenge(&site.server).await;
    let token = log_in(&site.server, &challenge, &site.sign(&challenge).await).await.text("access_token");
    let seen = request(&site.server, "GET", "/passkeys", &headers(&format!("Bearer {token}")), "").await.json();
    assert_eq!((&seen["user"], &seen["amr"]), (&json!("alice"), &json!(["pop", "user", "mfa"])));

    site.click("#passkeys button").await;
    wait_for_text(&site.browser, "#no-passkeys", "None yet").await;
    let challenge = self::challenge(&site.server).await;
    let lost = log_in(&site.server, &challenge, &site.sign(&challenge).await).await;
    assert_denied(&lost, "a passkey that was removed");
    site.click("#log-out").await;
    site.click("#use-passkey").await;
    wait_for_text(&site.browser, "#error", "This passkey is not known here").await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_refused() {
    let site = Site::with_passkey().await;
    let (older, newer) = (challenge(&site.server).await, challenge(&site.server).await);
    let signed = site.sign(&older).await;
    assert_denied(&log_in(&site.server, &newer, &signed).await, "what was signed for another challenge");
    site.server.log_that_tells(&["challenge differs"]);
    assert_denied(&log_in(&site.server, &newer, &site.sign(&newer).await).await, "the attempt has used it up");
    assert_eq!(log_in(&site.server, &older, &signed).await.status, 200);
    assert_denied(&log_in(&site.server, &older, &signed).await, "the same request again");
    assert!(!site.server.log().contains("compromise"), "not by the counter, which many passkeys do not have");
    let unknown = Challenge { id: "00000000-0000-4000-8000-000000000000".to_owned(), ..older };
    assert_denied(&log_in(&site.server, &unknown, &signed).await, "a challenge that nobody was given");

    let last = challenge(&site.server).await;
    let malformed = log_in(&site.server, &last, &json!({ "id": 1 })).await;
    assert_eq!((malformed.status, malformed.text("error").as_str()), (400, "invalid_request"));
    assert_eq!(log_in(&site.server, &last, &site.sign(&last).await).await.status, 200, "nothing was spent");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_of_another_origin_had_signed_is_refused() {
    let (site, other) = (Site::with_passkey().await, Example::start("passkeys", &[]));
    // Another port of the same host is another origin, for which browsers let the same passkeys sign.
    site.browser.goto(&page(&other)).await.unwrap();
    let phished = challenge(&site.server).await;
    let signed = site.sign(&phished).await;
    assert_denied(&log_in(&site.server, &phished, &signed).await, "signed on another port");
    site.server.log_that_tells(&["origin does not match"]);
    // The phisher corrects it.
    let (phished, ports) = (challenge(&site.server).await, [&other, &site.server].map(|server| server.address.port()));
    let mut forged = site.sign(&phished).await;
    let data = URL_SAFE_NO_PAD.decode(forged["response"]["clientDataJSON"].as_str().unwrap()).unwrap();
    let data = String::from_utf8(data).unwrap().replace(&ports[0].to_string(), &ports[1].to_string());
    forged["response"]["clientDataJSON"] = URL_SAFE_NO_PAD.encode(data).into();
    assert_denied(&log_in(&site.server, &phished, &forged).await, "the origin is signed, too");
    site.server.log_that_tells(&["Authentication has failed"]);
    // Another host does not even get a signature.
    site.browser.goto(&format!("{}/", other.url())).await.unwrap();
    let phished = challenge(&site.server).await;
    let signed = run(&site.browser, &format!("const options = {}; {SIGN}", phished.options)).await;
    assert!(signed["thrown"].as_str().is_some_and(|error| error.starts_with("SecurityError")), "{signed}");

    site.browser.goto(&page(&site.server)).await.unwrap();
    assert_eq!(log_in(&site.server, &phished, &site.sign(&phished).await).await.status, 200, "on its own page");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_assertion_is_refused() {
    let site = Site::with_passkey().await;
    for (member, byte) in [("signature", 20), ("authenticatorData", 36), ("userHandle", 0)] {
        let challenge = challenge(&site.server).await;
        let changed = with_flipped_bit(&site.sign(&challenge).await, member, byte);
        assert_denied(&log_in(&site.server, &challenge, &changed).await, member);
    }
    let bob = bearer(&site.server, BOB).await;
    let options = request(&site.server, "POST", "/passkeys/start", &headers(&bob), "").await.json();
    let own = challenge(&site.server).await;
    let mut signed = site.sign(&own).await;
    assert_ne!(signed["response"]["userHandle"], options["user"]["id"]);
    signed["response"]["userHandle"] = options["user"]["id"].clone();
    assert_denied(&log_in(&site.server, &own, &signed).await, "another user's handle");
    // The page asked the device not to check who uses it.
    let mut unverified = challenge(&site.server).await;
    unverified.options["userVerification"] = "discouraged".into();
    site.authenticator("POST", "uv", &json!({ "isUserVerified": false })).await;
    let signed = site.sign(&unverified).await;
    assert_denied(&log_in(&site.server, &unverified, &signed).await, "by whoever had the device");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_security_key_is_refused_once_the_original_is_ahead() {
    let site = Site::with_passkey().await;
    let copy = site.authenticator("GET", "credentials", &json!({})).await[0].clone();
    for _ in 0..2 {
        let challenge = challenge(&site.server).await;
        assert_eq!(log_in(&site.server, &challenge, &site.sign(&challenge).await).await.status, 200);
    }
    site.authenticator("DELETE", "credentials", &json!({})).await;
    site.authenticator("POST", "credential", &copy).await;
    let challenge = challenge(&site.server).await;
    let reply = log_in(&site.server, &challenge, &site.sign(&challenge).await).await;
    assert_denied(&reply, "its counter is behind");
    site.server.log_that_tells(&["compromise"]);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_is_added_once_and_by_its_user_only() {
    let site = Site::start().await;
    for (method, path) in
        [("POST", "/passkeys/start"), ("POST", "/passkeys/finish"), ("GET", "/passkeys"), ("DELETE", "/passkeys/1")]
    {
        assert_eq!(request(&site.server, method, path, &[], "").await.status, 401, "{method} {path}");
    }
    let (alice, bob) = (bearer(&site.server, ALICE).await, bearer(&site.server, BOB).await);
    let start = async |token: &str| request(&site.server, "POST", "/passkeys/start", &headers(token), "").await.json();
    let (options, _) = (start(&alice).await, start(&bob).await);
    let script = format!(
        "const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON({options});
        return (await navigator.credentials.create({{ publicKey }})).toJSON();"
    );
    let made = run(&site.browser, &script).await.to_string();
    let finish = async |token: &str| {
        let reply = request(&site.server, "POST", "/passkeys/finish", &headers(token), &made).await;
        let error = if reply.status == 200 { String::new() } else { reply.text("error_description") };
        (reply.status, error)
    };
    let (refused, over) = ("This passkey cannot be used here".to_owned(), "This took too long: begin again".to_owned());
    assert_eq!(finish(&bob).await, (400, refused.clone()), "what alice was asked to sign");
    assert_eq!(finish(&alice).await, (200, String::new()));
    assert_eq!(finish(&alice).await, (400, over));
    start(&alice).await;
    assert_eq!(finish(&alice).await, (400, refused), "it signed another challenge");

    let list = async |token: &str| request(&site.server, "GET", "/passkeys", &headers(token), "").await.json();
    let (alices, bobs) = (list(&alice).await, list(&bob).await);
    assert_eq!((alices["passkeys"].as_array().unwrap().len(), &bobs["passkeys"]), (1, &json!([])));
    let path = format!("/passkeys/{}", alices["passkeys"][0]["id"].as_str().unwrap());
    request(&site.server, "DELETE", &path, &headers(&bob), "").await;
    assert_eq!(list(&alice).await["passkeys"][0]["id"], alices["passkeys"][0]["id"]);
    // The device knows the user by the same handle, also after the last passkey was removed.
    request(&site.server, "DELETE", &path, &headers(&alice), "").await;
    assert_eq!(list(&alice).await["passkeys"], json!([]));
    assert_eq!(start(&alice).await["user"]["id"], options["user"]["id"]);
    site.end().await;
}

#[tokio::test]
async fn only_a_login_of_the_last_five_minutes_changes_passkeys() {
    let clock = Clock::start();
    let server = Example::start("passkeys", &clock.variables());
    let alice = bearer(&server, ALICE).await;
    let status = async |method, path| request(&server, method, path, &headers(&alice), "").await.status;
    assert_eq!(status("POST", "/passkeys/start").await, 200);
    clock.step(301);
    for (method, path) in [("POST", "/passkeys/start"), ("POST", "/passkeys/finish"), ("DELETE", "/passkeys/1")] {
        let reply = request(&server, method, path, &headers(&alice), "").await;
        assert_eq!((reply.status, reply.text("error").as_str()), (401, "insufficient_user_authentication"), "{path}");
    }
    assert_eq!(status("GET", "/passkeys").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_ask_for_many_challenges_keep_nobody_out() {
    let site = Site::with_passkey().await;
    for from in ["cross-site", "same-site", "none"] {
        let reply = request(&site.server, "POST", "/passkeys/challenge", &[("sec-fetch-site", from)], "").await;
        assert_eq!((reply.status, reply.text("error").as_str()), (400, "invalid_request"), "{from}");
    }
    let own = challenge(&site.server).await;
    let stranger = Ipv4Addr::new(127, 0, 0, 2);
    let ask = async || try_post(site.server.address, stranger, "/passkeys/challenge", "").await.unwrap();
    for at in 0..50 {
        assert_eq!(ask().await.status, 200, "{at}");
    }
    let refused = ask().await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("60")), "{refused:?}");
    assert_eq!(challenge(&site.server).await.options["rpId"], "localhost", "others are asked on");
    assert_eq!(log_in(&site.server, &own, &site.sign(&own).await).await.status, 200, "and none was dropped");
    site.end().await;
}

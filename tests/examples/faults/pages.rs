//! Logins of the single-page app: the refresh token in a cookie, and a second factor.

use std::{
    env, fs, process,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use serde_json::Value;
use test_support::{
    client::{ALICE, BOB, otp},
    example::Example,
    tally::TALLY,
};
use tokio::process::Command;

use crate::{assert_sound, scaled};

const OTP: &str = "grant_type=http://auth0.com/oauth/grant-type/mfa-otp";
const REFRESH: &str = "grant_type=refresh_token";
const SECRET: &str = "RABBITHOLERABBITHOLERABBITHOLE22";

pub fn app(variables: &[(&str, &str)]) -> Example {
    Example::start("single_page_app", variables)
}

/// A browser: curl with cookies in a file. The certificate is generated at start.
struct Browser<'a> {
    app: &'a Example,
    cookies: String,
}

impl<'a> Browser<'a> {
    fn new(app: &'a Example) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let cookies = env::temp_dir().join(format!("tower-oauth2-cookies-{}-{number}", process::id()));
        Self { app, cookies: cookies.to_str().unwrap().to_owned() }
    }

    async fn post(&self, path: &str, form: &str) -> (u16, Value) {
        let url = format!("https://{}{path}", self.app.address);
        let form = format!("client_id=spa&{form}");
        let arguments = ["--silent", "--insecure", "--max-time", "15", "--write-out", "\n%{http_code}"];
        let page = ["--header", "sec-fetch-site: same-origin", "--data", &form, &url];
        let begun = Instant::now();
        let cookies = ["--cookie", &*self.cookies, "--cookie-jar", &*self.cookies];
        let output = Command::new("curl").args(arguments).args(cookies).args(page).output().await;
        let output = String::from_utf8(output.expect("apt-get install curl").stdout).unwrap();
        let (body, status) = output.rsplit_once('\n').unwrap();
        let status = status.parse().unwrap();
        TALLY.count(status, begun.elapsed());
        assert!(![0, 500, 503].contains(&status), "{path}: {output}");
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    fn has_cookie(&self) -> bool {
        fs::read_to_string(&self.cookies).is_ok_and(|text| text.contains("__Host-refresh_token"))
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.cookies);
    }
}

/// One login with a second factor, others that never end, and `count` logins that are refreshed and ended. A code is good
/// once: at most one call in a minute.
pub async fn logins(app: &Example, count: usize) {
    let code = otp(SECRET, "now");
    let mut tokens = Vec::new();
    // Ten may wait.
    for _ in 0..11 {
        let (status, body) = Browser::new(app).post("/token", ALICE).await;
        assert_eq!((status, &body["error"]), (403, &"mfa_required".into()));
        tokens.push(body["mfa_token"].as_str().unwrap().to_owned());
    }
    for (token, due) in [(&tokens[0], 400), (&tokens[10], 200), (&tokens[10], 400)] {
        let browser = Browser::new(app);
        let (status, body) = browser.post("/token", &format!("{OTP}&mfa_token={token}&otp={code}")).await;
        assert_eq!((status, browser.has_cookie()), (due, due == 200), "{body}");
    }
    for _ in 0..count {
        let browser = Browser::new(app);
        let (status, body) = browser.post("/token", &format!("{BOB}&remember=on")).await;
        assert_eq!((status, browser.has_cookie(), &body["refresh_token"]), (200, true, &Value::Null), "{body}");
        let (status, body) = browser.post("/token", REFRESH).await;
        assert_eq!((status, browser.has_cookie()), (200, true), "{body}");
        let old = fs::read(&browser.cookies).unwrap();
        assert_eq!(browser.post("/revoke", "").await.0, 200);
        assert!(!browser.has_cookie());
        fs::write(&browser.cookies, old).unwrap();
        assert_eq!(browser.post("/token", REFRESH).await.0, 400, "the session has ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_and_second_factors_work_and_end() {
    let app = app(&[]);
    logins(&app, scaled(100)).await;
    assert_sound(&app);
}

//! The single-page app in a real Chromium: over HTTPS, with names of their own for the app, a sister domain and a stranger.

use std::{net::SocketAddr, process::Command, sync::Arc, time::Duration};

use fantoccini::{Client, cookies::Cookie, wd::TimeoutConfiguration};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer},
};

use crate::{
    browser::{Driver, find, run, wait_for_text},
    client::{otp, within},
};
use test_support::example::Example;

const COOKIE: &str = "__Host-refresh_token";
const SECRET: &str = "RABBITHOLERABBITHOLERABBITHOLE22";
const DAY: i64 = 86_400;
const PATIENCE: Duration = Duration::from_secs(15);

/// Serves an empty page at every path, under every name.
async fn strangers() -> SocketAddr {
    let made = rcgen::generate_simple_self_signed(["evil.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(vec![made.cert.into()], key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let _ = stream.read(&mut [0; 8_192]).await?;
                let page =
                    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 15\r\nconnection: close\r\n\r\n";
                stream.write_all(page.as_bytes()).await?;
                stream.write_all(b"<!DOCTYPE html>").await?;
                stream.shutdown().await
            });
        }
    });
    address
}

/// The pin by which Chromium trusts the certificate of this server, and of no other.
fn pin(server: SocketAddr) -> String {
    let script = format!(
        "openssl s_client -connect {server} </dev/null 2>/dev/null | openssl x509 -pubkey -noout |
        openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64"
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let pin = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert_eq!(pin.len(), 44, "is openssl installed? {}", String::from_utf8_lossy(&output.stderr));
    pin
}

struct Site {
    server: Example,
    strangers: SocketAddr,
    arguments: [String; 2],
    driver: Driver,
}

impl Site {
    async fn start() -> Self {
        let (server, strangers) = (Example::start("single_page_app", &[]), strangers().await);
        let arguments = [
            "--host-resolver-rules=MAP *.example 127.0.0.1".to_owned(),
            format!("--ignore-certificate-errors-spki-list={},{}", pin(server.address), pin(strangers)),
        ];
        Self { server, strangers, arguments, driver: Driver::start() }
    }

    async fn browser(&self) -> Client {
        let browser = self.driver.browser(&self.arguments.each_ref().map(String::as_str)).await;
        let timeouts = TimeoutConfiguration::new(Some(PATIENCE), None, None);
        browser.update_timeouts(timeouts).await.unwrap();
        browser
    }

    fn url(&self, path: &str) -> String {
        format!("https://app.example:{}{path}", self.server.address.port())
    }

    /// A browser in which bob is logged in.
    async fn bobs(&self) -> Client {
        let browser = self.browser().await;
        browser.goto(&self.url("/")).await.unwrap();
        log_in(&browser, "bob", "builder456", false).await;
        wait_for_text(&browser, "#name", "bob").await;
        browser
    }

    /// The cookie, read where no script of the app runs that would replace it.
    async fn cookie(&self, browser: &Client) -> Cookie<'static> {
        browser.goto(&self.url("/style.css")).await.unwrap();
        browser.get_named_cookie(COOKIE).await.unwrap()
    }
}

async fn log_in(browser: &Client, name: &str, password: &str, remember: bool) {
    fill(browser, "#username", name).await;
    fill(browser, "#password", password).await;
    let checkbox = find(browser, "[name=remember]").await;
    if checkbox.is_selected().await.unwrap() != remember {
        checkbox.click().await.unwrap();
    }
    find(browser, "#log-in button").await.click().await.unwrap();
}

async fn fill(browser: &Client, css: &str, text: &str) {
    let field = find(browser, css).await;
    within(PATIENCE, css, async || field.is_displayed().await.unwrap()).await;
    field.clear().await.unwrap();
    field.send_keys(text).await.unwrap();
}

async fn add_item(browser: &Client, item: &str) {
    fill(browser, "[name=item]", item).await;
    find(browser, "#add button").await.click().await.unwrap();
    wait_for_text(browser, "#items", item).await;
}

/// The statuses of all answers to this page.
async fn statuses(browser: &Client) -> Vec<u64> {
    let script = "return performance.getEntriesByType('resource').map((entry) => entry.responseStatus);";
    serde_json::from_value(run(browser, script).await).unwrap()
}

fn lifetime(cookie: &Cookie<'_>) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    cookie.expires().unwrap().datetime().unwrap().unix_timestamp() - i64::try_from(now).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_logs_in_with_a_code_is_remembered_and_logs_out() {
    let site = Site::start().await;
    let browser = site.browser().await;
    browser.goto(&site.url("/")).await.unwrap();
    log_in(&browser, "alice", "wrong", true).await;
    wait_for_text(&browser, "#error", "Incorrect username or password").await;
    log_in(&browser, "alice", "wonderland123", true).await;
    let code = otp(SECRET, "now");
    fill(&browser, "#otp", if code == "000000" { "111111" } else { "000000" }).await;
    find(&browser, "#second-factor button").await.click().await.unwrap();
    wait_for_text(&browser, "#error", ".").await;
    // Chromium opens a dialog of its own for the Basic challenge that a 401 of the token endpoint carries.
    let seen = statuses(&browser).await;
    assert!(
        seen.ends_with(&[400, 400, 403, 400]),
        "the refresh, the wrong password, the right one, the code: {seen:?}"
    );
    assert!(browser.get_all_cookies().await.unwrap().is_empty());

    fill(&browser, "#otp", &code).await;
    find(&browser, "#second-factor button").await.click().await.unwrap();
    wait_for_text(&browser, "#name", "alice").await;
    add_item(&browser, "Tea with the Hatter").await;
    assert_eq!(run(&browser, "return document.cookie;").await, "");
    assert_eq!(run(&browser, "return localStorage.length + sessionStorage.length;").await, 0);
    let cookie = browser.get_named_cookie(COOKIE).await.unwrap();
    assert!(cookie.http_only().unwrap() && cookie.secure().unwrap(), "{cookie}");
    assert_eq!(cookie.same_site().unwrap().to_string(), "Strict");
    assert!((29 * DAY..=30 * DAY).contains(&lifetime(&cookie)), "{cookie}");

    browser.refresh().await.unwrap();
    wait_for_text(&browser, "#items", "Tea with the Hatter").await;
    let next = browser.get_named_cookie(COOKIE).await.unwrap();
    assert_ne!(next.value(), cookie.value(), "the refresh replaced it");
    assert!((29 * DAY..=30 * DAY).contains(&lifetime(&next)), "{next}");

    find(&browser, "#log-out").await.click().await.unwrap();
    within(PATIENCE, "the log-in", async || find(&browser, "#log-in").await.is_displayed().await.unwrap()).await;
    assert!(browser.get_all_cookies().await.unwrap().is_empty());
    browser.refresh().await.unwrap();
    log_in(&browser, "bob", "builder456", false).await;
    wait_for_text(&browser, "#name", "bob").await;
    let cookie = browser.get_named_cookie(COOKIE).await.unwrap();
    assert!((DAY - 600..=DAY).contains(&lifetime(&cookie)), "who is not remembered: {cookie}");
    browser.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_ended_from_another_browser() {
    let site = Site::start().await;
    let (lost, own) = (site.bobs().await, site.bobs().await);
    find(&own, "#sessions button").await.click().await.unwrap();
    within(PATIENCE, "one session", async || {
        run(&own, "return document.querySelectorAll('#sessions li').length;").await == 1
    })
    .await;
    fill(&lost, "[name=item]", "x").await;
    find(&lost, "#add button").await.click().await.unwrap();
    wait_for_text(&lost, "#error", "Your session has ended").await;
    add_item(&own, "y").await;
    for browser in [lost, own] {
        browser.close().await.unwrap();
    }
}

/// When the last refresh of the page began and ended, in milliseconds, and its status.
async fn last_refresh(browser: &Client) -> (f64, f64, u64) {
    let script =
        "const entry = performance.getEntriesByType('resource').findLast(({ name }) => name.endsWith('/token'));
        const time = (name) => performance.timeOrigin + entry[name];
        return [time('requestStart'), time('responseStart'), entry.responseStatus];";
    serde_json::from_value(run(browser, script).await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tabs_that_refresh_at_once_all_go_on() {
    let site = Site::start().await;
    let browser = site.bobs().await;
    let mut tabs = vec![browser.window().await.unwrap()];
    for _ in 0..2 {
        let tab = browser.new_window(true).await.unwrap().handle;
        browser.switch_to_window(tab.clone()).await.unwrap();
        browser.goto(&site.url("/")).await.unwrap();
        wait_for_text(&browser, "#name", "bob").await;
        tabs.push(tab);
    }
    // This tells all tabs that somebody logged in, so each of them refreshes.
    let mut overlapped = false;
    for _ in 0..20 {
        run(&browser, "new BroadcastChannel('session').postMessage('changed'); await new Promise((done) => setTimeout(done, 300));").await;
        let mut seen = Vec::new();
        for tab in &tabs[..2] {
            browser.switch_to_window(tab.clone()).await.unwrap();
            seen.push(last_refresh(&browser).await);
        }
        browser.switch_to_window(tabs[2].clone()).await.unwrap();
        assert!(seen.iter().all(|refresh| refresh.2 == 200), "{seen:?}");
        overlapped |= seen[0].0 < seen[1].1 && seen[1].0 < seen[0].1;
        if overlapped {
            break;
        }
    }
    assert!(overlapped, "the refreshes of two tabs never overlapped");
    // Many tabs: some requests are on their way while others get their answer.
    let script = "const body = () => new URLSearchParams({ client_id: 'spa', grant_type: 'refresh_token' });
        const statuses = new Set();
        await Promise.all(Array.from({ length: 8 }, async () => {
            for (let i = 0; i < 10; i++) statuses.add((await fetch('/token', { method: 'POST', body: body() })).status);
        }));
        return [...statuses];";
    assert_eq!(run(&browser, script).await, json!([200]));
    for (index, tab) in tabs.into_iter().enumerate() {
        browser.switch_to_window(tab).await.unwrap();
        add_item(&browser, &format!("item {index}")).await;
        browser.refresh().await.unwrap();
        wait_for_text(&browser, "#items", &format!("item {index}")).await;
    }
    browser.close().await.unwrap();
}

/// Requests that would end, use up or replace the session of a user, as fields of a form.
fn attacks() -> [(&'static str, Value); 4] {
    [
        ("/token", json!({ "client_id": "spa", "grant_type": "refresh_token" })),
        (
            "/token",
            json!({ "client_id": "spa", "grant_type": "password", "username": "bob", "password": "builder456" }),
        ),
        ("/token", json!({ "client_id": "spa", "grant_type": "password", "username": "bob", "password": "wrong" })),
        ("/revoke", json!({ "client_id": "spa" })),
    ]
}

/// Puts `form` together: to `action`, into the frame or window `target`.
fn form(action: &str, fields: &Value, target: &str) -> String {
    format!(
        "const form = document.createElement('form');
        Object.assign(form, {{ method: 'POST', action: {action:?}, target: {target:?} }});
        for (const [name, value] of Object.entries({fields})) {{
            form.append(Object.assign(document.createElement('input'), {{ type: 'hidden', name, value }}));
        }}
        document.body.append(form);"
    )
}

/// What a page can do from where it is without leaving it.
async fn attack_in_place(site: &Site, browser: &Client) {
    for (path, fields) in attacks() {
        let url = site.url(path);
        // More often than anybody may guess in a minute.
        let script = format!(
            "const body = () => new URLSearchParams({fields});
            const opaque = {{ method: 'POST', mode: 'no-cors', credentials: 'include' }};
            const types = [];
            for (let i = 0; i < 12; i++) types.push((await fetch({url:?}, {{ ...opaque, body: body() }})).type);
            const readable = {{ method: 'POST', mode: 'cors', credentials: 'include', body: body() }};
            types.push(await fetch({url:?}, readable).then(({{ status }}) => status, () => 'unreadable'));
            navigator.sendBeacon({url:?}, body());
            return types;"
        );
        let mut types = vec!["opaque"; 12];
        types.push("unreadable");
        assert_eq!(run(browser, &script).await, json!(types), "{url} {fields}");
        let script = format!(
            "const frame = Object.assign(document.createElement('iframe'), {{ name: 'frame' }});
            document.body.append(frame);
            {}
            await new Promise((loaded) => {{ frame.addEventListener('load', loaded); form.submit(); }});
            frame.remove(); form.remove();
            return 'loaded';",
            form(&url, &fields, "frame")
        );
        assert_eq!(run(browser, &script).await, "loaded", "{url} {fields}");
    }
    let script = format!(
        "const frame = Object.assign(document.createElement('iframe'), {{ src: {:?} }});
        await new Promise((loaded) => {{ frame.addEventListener('load', loaded); document.body.append(frame); }});
        await new Promise((done) => setTimeout(done, 500));
        document.cookie = '{COOKIE}=planted; Secure; Path=/; Domain=app.example';
        document.cookie = '{COOKIE}=planted; Secure; Path=/';
        return document.cookie;",
        site.url("/")
    );
    let _ = run(browser, &script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_change_and_spend_nothing() {
    let site = Site::start().await;
    let browser = site.bobs().await;
    for host in ["evil.example", "sister.app.example", "app.example"] {
        let page = format!("https://{host}:{}/", site.strangers.port());
        let before = site.cookie(&browser).await;
        browser.goto(&page).await.unwrap();
        attack_in_place(&site, &browser).await;
        for (path, fields) in attacks() {
            browser.goto(&page).await.unwrap();
            let script = form(&site.url(path), &fields, "_self") + "setTimeout(() => form.submit());";
            run(&browser, &script).await;
            // From another site the cookie does not even come along, and a refresh without a token is refused as such.
            let is_empty = host == "evil.example" && fields["grant_type"] == "refresh_token";
            wait_for_text(&browser, "body", if is_empty { "is missing" } else { "access_denied" }).await;
            browser.goto(&page).await.unwrap();
            let query = format!("{}?client_id=spa&grant_type=refresh_token", site.url(path));
            run(&browser, &format!("setTimeout(() => {{ location = {query:?}; }});")).await;
            within(PATIENCE, path, async || browser.current_url().await.unwrap().as_str() == query).await;
        }
        let after = site.cookie(&browser).await;
        assert_eq!(after.value(), before.value(), "{host} changed the cookie");

        // A link is no attack: who follows it is logged in, and the session is as it was.
        browser.goto(&page).await.unwrap();
        run(&browser, &format!("setTimeout(() => {{ location = {:?}; }});", site.url("/"))).await;
        wait_for_text(&browser, "#name", "bob").await;
        let sessions = run(&browser, "return document.querySelectorAll('#sessions li').length;").await;
        assert_eq!(sessions, 1, "{host} began a session");
    }
    find(&browser, "#log-out").await.click().await.unwrap();
    log_in(&browser, "bob", "builder456", false).await;
    wait_for_text(&browser, "#name", "bob").await;
    browser.close().await.unwrap();
}

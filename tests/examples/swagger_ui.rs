//! `/docs` in a real Chromium.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::json;

use test_support::{example::Example, port::free_port};

struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn browser() -> (Driver, Client) {
    let port = free_port();
    let driver = Command::new("chromedriver")
        .arg(format!("--port={port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromedriver is not installed: apt-get install chromium chromium-driver");
    let driver = Driver(driver);
    let options =
        json!({ "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,2400"] });
    let capabilities = json!({ "goog:chromeOptions": options }).as_object().unwrap().clone();
    for _ in 0..300 {
        let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        if let Ok(client) =
            builder.capabilities(capabilities.clone()).connect(&format!("http://127.0.0.1:{port}")).await
        {
            return (driver, client);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no session with chromedriver: is chromium installed? apt-get install chromium chromium-driver");
}

async fn find(client: &Client, css: &str) -> fantoccini::elements::Element {
    client
        .wait()
        .at_most(Duration::from_secs(20))
        .for_element(Locator::Css(css))
        .await
        .unwrap_or_else(|_| panic!("no {css}"))
}

async fn wait_for_text(client: &Client, css: &str, text: &str) {
    let mut seen = String::new();
    for _ in 0..200 {
        if let Ok(element) = client.find(Locator::Css(css)).await {
            seen = element.text().await.unwrap_or_default();
            if seen.contains(text) {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{css} does not say {text:?} but {seen:?}");
}

async fn authorize(client: &Client, password: &str) {
    let name = find(client, "#oauth_username").await;
    name.clear().await.unwrap();
    name.send_keys("alice").await.unwrap();
    let field = find(client, "#oauth_password").await;
    field.clear().await.unwrap();
    field.send_keys(password).await.unwrap();
    find(client, ".auth-btn-wrapper .authorize").await.click().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authorize_dialog_logs_in() {
    let server = Example::start("server", &[]);
    let (driver, client) = browser().await;
    client.goto(&format!("{}/docs", server.url())).await.unwrap();
    find(&client, ".auth-wrapper .authorize").await.click().await.unwrap();

    authorize(&client, "wrong").await;
    wait_for_text(&client, ".errors", "Incorrect username or password").await;
    authorize(&client, "wonderland123").await;
    wait_for_text(&client, ".auth-container", "Authorized").await;
    find(&client, ".btn-done").await.click().await.unwrap();

    find(&client, "[id$='-me'] .opblock-summary-control").await.click().await.unwrap();
    find(&client, "[id$='-me'] .try-out__btn").await.click().await.unwrap();
    find(&client, "[id$='-me'] .execute").await.click().await.unwrap();
    wait_for_text(&client, "[id$='-me'] .live-responses-table tbody .response-col_status", "200").await;
    wait_for_text(&client, "[id$='-me'] .live-responses-table tbody .response-col_description", "\"alice\"").await;

    // The server accepts the body that Swagger UI generates.
    find(&client, "[id$='-add_item'] .opblock-summary-control").await.click().await.unwrap();
    find(&client, "[id$='-add_item'] .try-out__btn").await.click().await.unwrap();
    find(&client, "[id$='-add_item'] .execute").await.click().await.unwrap();
    wait_for_text(&client, "[id$='-add_item'] .live-responses-table tbody .response-col_status", "201").await;
    client.close().await.unwrap();
    drop(driver);
}

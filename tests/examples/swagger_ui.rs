//! `/docs` in a real Chromium.

use fantoccini::Client;

use crate::browser::{Driver, find, wait_for_text};
use test_support::example::Example;

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
    let driver = Driver::start();
    let client = driver.browser(&[]).await;
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

//! A real Chromium, driven through chromedriver.

use std::{
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use fantoccini::{Client, ClientBuilder, Locator, elements::Element};
use serde_json::{Value, json};

use test_support::{client::try_request, port::free_port};

pub(crate) struct Driver {
    process: Child,
    port: u16,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Driver {
    pub(crate) fn start() -> Self {
        let port = free_port();
        let process = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is not installed: apt-get install chromium chromium-driver");
        Self { process, port }
    }

    /// Sends a command that `fantoccini` does not know, and returns its value.
    pub(crate) async fn command(&self, client: &Client, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/session/{}/{path}", client.session_id().await.unwrap().unwrap());
        let address = (Ipv4Addr::LOCALHOST, self.port).into();
        let headers = [("content-type", "application/json")];
        let reply =
            try_request(address, Ipv4Addr::LOCALHOST, method, &path, &headers, &body.to_string()).await.unwrap();
        assert_eq!(reply.status, 200, "{method} {path}: {reply:?}");
        reply.json()["value"].clone()
    }

    /// A browser with a profile of its own.
    pub(crate) async fn browser(&self, arguments: &[&str]) -> Client {
        let own = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,2400"];
        let arguments = [&own, arguments].concat();
        let options = json!({ "args": arguments });
        let capabilities = json!({ "goog:chromeOptions": options }).as_object().unwrap().clone();
        for _ in 0..300 {
            let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
            let address = format!("http://127.0.0.1:{}", self.port);
            if let Ok(client) = builder.capabilities(capabilities.clone()).connect(&address).await {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no session with chromedriver: is chromium installed? apt-get install chromium chromium-driver");
    }
}

pub(crate) async fn find(client: &Client, css: &str) -> Element {
    client
        .wait()
        .at_most(Duration::from_secs(20))
        .for_element(Locator::Css(css))
        .await
        .unwrap_or_else(|_| panic!("no {css}"))
}

pub(crate) async fn wait_for_text(client: &Client, css: &str, text: &str) {
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

/// Runs the body of an async function in the page.
pub(crate) async fn run(client: &Client, body: &str) -> Value {
    let script = format!(
        "const done = arguments[arguments.length - 1];
        (async () => {{ {body} }})().then(done, (error) => done({{ thrown: String(error) }}));"
    );
    client.execute_async(&script, vec![]).await.unwrap_or_else(|error| panic!("{error}: {body}"))
}

//! The example `fastapi_tutorial` gives the answers that were recorded of FastAPI's own.

use std::process::Command;

use test_support::example::Example;

const SECRET_KEY: &str = "5f2b0c9d7e614a38b1c6d0f94e7a2358c4d91e06fb7a3285d0e9c1b74f6a8230";

#[test]
fn answers_are_those_of_fastapi() {
    let server = Example::start("fastapi_tutorial", &[("SECRET_KEY", SECRET_KEY)]);
    let script = test_support::root().join("tests/fastapi/run");
    let output = Command::new(script).args([&server.url(), SECRET_KEY]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let failed: Vec<_> = printed.lines().filter(|line| !line.starts_with("ok ")).collect();
    assert!(output.status.success(), "{}\n{}", failed.join("\n"), String::from_utf8_lossy(&output.stderr));
}

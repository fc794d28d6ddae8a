//! The example `fastapi_tutorial` gives the same responses as FastAPI's own tutorial.

use std::process::Command;

use test_support::example::Example;

const SECRET_KEY: &str = "5f2b0c9d7e614a38b1c6d0f94e7a2358c4d91e06fb7a3285d0e9c1b74f6a8230";

fn run(script: &str, arguments: impl Fn(&str) -> Vec<String>) {
    let server = Example::start("fastapi_tutorial", &[("SECRET_KEY", SECRET_KEY)]);
    let output = Command::new(test_support::root().join("tests/fastapi/run"))
        .arg(script)
        .args(arguments(&server.url()))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let failed: Vec<_> = printed.lines().filter(|line| !line.starts_with("ok ")).collect();
    assert!(output.status.success(), "{}\n{}", failed.join("\n"), String::from_utf8_lossy(&output.stderr));
}

#[test]
fn answers_equal_those_of_fastapi() {
    run("replay.py", |url| vec![url.to_owned(), SECRET_KEY.to_owned()]);
}

#[test]
fn the_tests_of_fastapis_tutorial_pass() {
    run("tutorial_tests.py", |url| vec![url.to_owned()]);
}

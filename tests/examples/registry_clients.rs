//! OAuth clients for Python and JavaScript, installed from their registries.

use std::process::Command;

use test_support::example::Example;

#[test]
fn clients_of_other_languages_log_in() {
    let server = Example::start("server", &[]);
    let script = test_support::root().join("tests/clients/run");
    let output = Command::new(script).arg(server.url()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.trim_end().ends_with(" passed, 0 failed"), "{text}");
}

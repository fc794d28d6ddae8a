//! Certificates of a private CA, for servers on this machine.

use std::{fs, path::Path, process::Command};

/// Writes `tls.pem` and `tls.key` for localhost, and `ca.pem`, which it returns.
pub fn make_certificates(dir: &Path) -> Vec<u8> {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    // Python 3.13 and later want the usage.
    let usage = "-addext keyUsage=critical,keyCertSign";
    openssl(dir, &format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=ca {usage}"));
    let subject =
        "-subj /CN=server -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=CA:FALSE";
    openssl(dir, &format!("req -x509 {key} -keyout tls.key -out tls.pem -CA ca.pem -CAkey ca.key {subject}"));
    fs::read(dir.join("ca.pem")).unwrap()
}

fn openssl(dir: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output();
    let output = output.unwrap_or_else(|_| panic!("openssl is not installed: apt-get install openssl"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

//! Codes and URLs against programs of others.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::*;

const PACKAGE: &str = "pyotp==2.9.0";

/// Issuers and accounts, with each kind of character that needs an escape.
const LABELS: [(&str, &str); 5] = [
    ("Rabbit Hole", "alice@api.example"),
    ("Größe 東京", "acme:alice"),
    ("Tea & Co", "b/c?d#e%20f+g&secret=h"),
    ("a/b?c#d%41", " "),
    ("-._~!$'()*,;=@[]\"<>\\^`{|}", "a=b"),
];

/// What pyotp reads from the first URLs: it takes the escapes out of a whole URL and parses it then, which no `&` survives. And
/// what Python's own parser reads from all of them.
const READ: &str = "
import json, sys, pyotp
from urllib.parse import parse_qs, unquote, urlsplit
for url in sys.argv[1:3]:
    totp = pyotp.parse_uri(url)
    print(json.dumps([totp.issuer, totp.name, totp.at(1234567890)]))
for url in sys.argv[1:]:
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.fragment) == ('otpauth', 'totp', ''), url
    issuer, account = map(unquote, parts.path[1:].split(':'))
    values = {name: value for name, [value] in parse_qs(parts.query, strict_parsing=True).items()}
    secret = values.pop('secret')
    assert values == {'issuer': issuer, 'algorithm': 'SHA1', 'digits': '6', 'period': '30'}, url
    print(json.dumps([issuer, account, pyotp.TOTP(secret).at(1234567890)]))
";

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; this test needs: apt install oathtool python3 python3-venv")
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The code of a secret at this second.
pub(crate) fn oathtool(secret: &TotpSecret, time: u64) -> String {
    let secret = secret.to_base32();
    let arguments = ["--totp", "--base32", "--now", &format!("@{time}"), secret.expose()];
    run(Command::new("oathtool").args(arguments)).trim().to_owned()
}

/// The interpreter of a virtual environment with the package, which is created on first use.
fn python() -> PathBuf {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/totp-venv");
    let (python, stamp) = (venv.join("bin/python"), venv.join(".installed"));
    if std::fs::read_to_string(&stamp).ok().as_deref() != Some(PACKAGE) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]));
        std::fs::write(stamp, PACKAGE).unwrap();
    }
    python
}

#[tokio::test]
async fn codes_of_oathtool_are_right() {
    for time in [61, 1_700_000_000, 1_800_000_017, 4_102_444_799] {
        let (site, secret) = (Site::at(time).await, TotpSecret::generate().unwrap());
        site.table.enroll("alice", &secret, 0, &[]).await.unwrap();
        let [before, now, after] = [time - 30, time, time + 30].map(|time| oathtool(&secret, time));
        for code in [&before, &now, &after] {
            assert!(site.is_right(code).await, "{code} at {time}");
            assert!(!site.is_right(code).await, "{code} again");
        }
    }
}

#[tokio::test]
async fn python_reads_the_url_and_makes_codes_of_it() {
    let urls = LABELS.map(|(issuer, account)| secret().url(issuer, account).unwrap());
    let printed = run(Command::new(python()).args(["-B", "-c", READ]).args(urls.iter().map(|url| url.expose())));
    let read: Vec<[String; 3]> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read.len(), 2 + LABELS.len());
    for ([issuer, account, code], expected) in read.iter().zip(LABELS[..2].iter().chain(&LABELS)) {
        assert_eq!((issuer.as_str(), account.as_str()), *expected);
        assert!(Site::at(1_234_567_890).await.is_right(code).await);
    }
}

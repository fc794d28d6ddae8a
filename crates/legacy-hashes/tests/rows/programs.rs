//! Rows that the real programs make during the test.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::*;

// All versions are pinned, including those of the programs' own dependencies.
const PACKAGES: [&str; 11] = [
    "argon2-cffi==25.1.0",
    "argon2-cffi-bindings==26.2.0",
    "asgiref==3.13.0",
    "bcrypt==5.0.0",
    "cffi==2.1.1",
    "Django==5.2.19",
    "MarkupSafe==3.0.4",
    "passlib==1.7.4",
    "pycparser==3.12",
    "sqlparse==0.6.1",
    "Werkzeug==3.1.9",
];

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; this test needs: apt install python3 python3-venv"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The interpreter of a virtual environment with the programs, which is created on first use.
fn python() -> PathBuf {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/legacy-hashes-venv");
    let (python, stamp) = (venv.join("bin/python"), venv.join(".installed"));
    if std::fs::read_to_string(&stamp).ok().as_deref() != Some(&PACKAGES.join(" ")) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(PACKAGES));
        std::fs::write(stamp, PACKAGES.join(" ")).unwrap();
    }
    python
}

#[tokio::test]
async fn users_of_other_programs_move_in() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rows/rows.py");
    let printed = run(Command::new(python()).args(["-B", script]));
    let rows: Vec<[String; 3]> = serde_json::from_str(&printed).unwrap();
    assert!(rows.len() > 50, "{}", rows.len());
    for [case, password, row] in rows {
        moves_in(old_hashes(), &case, &password, &row).await;
    }
}

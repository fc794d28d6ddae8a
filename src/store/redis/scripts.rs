//! The Lua scripts. Each decides one thing on one key, before a deadline, by Redis's own clock.

use std::sync::LazyLock;

use redis::Script;

/// A script that begins with `now.lua`.
pub(super) struct Decision {
    pub(super) script: LazyLock<Script>,
    /// Whether it may run again if the connection was lost, as after a restart of Redis: its second run changes nothing.
    pub(super) repeatable: bool,
}

macro_rules! scripts {
    ($($name:ident: $file:literal, repeatable: $repeatable:literal;)*) => {
        $(pub(super) static $name: Decision = Decision {
            script: LazyLock::new(|| Script::new(concat!(include_str!("now.lua"), include_str!($file)))),
            repeatable: $repeatable,
        };)*

        const SOURCES: &[&str] = &[$(concat!(include_str!("now.lua"), include_str!($file))),*];
    };
}

scripts! {
    INDEX: "index.lua", repeatable: false;
    INSERT: "insert.lua", repeatable: false;
    FIND: "find.lua", repeatable: true;
    ROTATE: "rotate.lua", repeatable: false;
    REVOKE: "revoke.lua", repeatable: true;
    END: "end.lua", repeatable: true;
    LIST: "list.lua", repeatable: true;
    FORGET: "forget.lua", repeatable: true;
    RESERVE: "reserve.lua", repeatable: true;
    SETTLE: "settle.lua", repeatable: false;
    DENY: "deny.lua", repeatable: true;
    BEAT: "beat.lua", repeatable: true;
    READ_PAGE: "read_page.lua", repeatable: true;
}

/// Loads all scripts, so that no first use needs a second round trip.
pub(super) fn load_all(pipe: &mut redis::Pipeline) {
    for source in SOURCES {
        pipe.cmd("SCRIPT").arg("LOAD").arg(*source).ignore();
    }
}

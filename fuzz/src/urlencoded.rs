//! WHATWG urlencoded, byte by byte and strict about UTF-8.

/// A decoded name and value; `None` if it is not UTF-8.
pub type Piece = (Option<String>, Option<String>);

#[must_use]
pub fn pieces(text: &[u8]) -> Vec<Piece> {
    let mut all = Vec::new();
    let (mut name, mut value, mut in_value, mut begun) = (Vec::new(), Vec::new(), false, false);
    let mut rest = text;
    loop {
        let (byte, width) = match rest {
            [] | [b'&', ..] => {
                if begun {
                    all.push((String::from_utf8(name).ok(), String::from_utf8(value).ok()));
                }
                if rest.is_empty() {
                    return all;
                }
                (name, value, in_value, begun) = (Vec::new(), Vec::new(), false, false);
                rest = &rest[1..];
                continue;
            }
            [b'=', ..] if !in_value => {
                (in_value, begun, rest) = (true, true, &rest[1..]);
                continue;
            }
            [b'+', ..] => (b' ', 1),
            [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (16 * digit(*high) + digit(*low), 3)
            }
            [byte, ..] => (*byte, 1),
        };
        begun = true;
        if in_value {
            value.push(byte)
        } else {
            name.push(byte)
        }
        rest = &rest[width..];
    }
}

fn digit(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        _ => (hex | 0x20) - b'a' + 10,
    }
}

/// Decodes one text as a whole: `&` and `=` have no meaning.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    let hidden = text.replace('&', "%26").replace('=', "%3D");
    match pieces(hidden.as_bytes()).pop() {
        Some((name, _)) => name,
        None => Some(String::new()),
    }
}

#[must_use]
pub fn print<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let pairs = pairs.into_iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&").into_bytes()
}

#[must_use]
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b' ' => "+".to_owned(),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

//! Base64 as in RFC 4648: no other characters, canonical, with or without padding.

const TABLE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[must_use]
pub fn standard(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let body = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let bytes = unpadded(body)?;
    (text.len() - body.len() == (3 - bytes.len() % 3) % 3).then_some(bytes)
}

#[must_use]
pub fn url_safe(text: &str) -> Option<Vec<u8>> {
    if text.contains(['+', '/']) {
        return None;
    }
    unpadded(&text.replace('-', "+").replace('_', "/"))
}

fn unpadded(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for character in text.bytes() {
        let six = TABLE.iter().position(|known| *known == character)?;
        bits = bits << 6 | six as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    (count < 6 && bits == 0).then_some(bytes)
}

#[must_use]
pub fn print(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, n| bits << 8 | u32::from(chunk.get(n).copied().unwrap_or(0)));
        for n in 0..4 {
            let six = (bits >> (18 - 6 * n) & 63) as usize;
            text.push(if n <= chunk.len() { char::from(TABLE[six]) } else { '=' });
        }
    }
    text
}

#[must_use]
pub fn print_url_safe(bytes: &[u8]) -> String {
    print(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

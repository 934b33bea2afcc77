//! Stored pairs for people. A key begins with the name of its collection and a zero byte; what
//! follows is shown as far as it is text. A value is a protobuf message of a type that the state
//! does not tell: it is shown by the numbers of its fields.

use std::fmt::Write as _;

/// Messages within messages, so deep.
const DEPTH_MAX: usize = 8;

/// A pair on one line.
pub(crate) fn pair(key: &[u8], value: &[u8]) -> String {
    let name = key.iter().position(|byte| *byte == 0);
    let (name, rest) = match name.map(|end| (&key[..end], &key[end + 1..])) {
        Some((name, rest)) if is_text(name) => (String::from_utf8_lossy(name), rest),
        _ => ("".into(), key),
    };
    let key = if rest.is_empty() { String::new() } else { format!("[{}]", bytes(rest)) };
    format!("{name}{key} = {}", message_or_bytes(value))
}

fn is_text(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(char::is_control))
}

/// Runs of text in quotes, and the rest as hexadecimal digits.
fn bytes(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunk_by(|a, b| is_plain(*a) == is_plain(*b)) {
        let gap = if out.is_empty() { "" } else { " " };
        out.push_str(gap);
        match std::str::from_utf8(chunk) {
            Ok(text) if is_text(chunk) => write!(out, "{text:?}"),
            _ => {
                out.push_str("0x");
                chunk.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
            }
        }
        .expect("a string takes all");
    }
    out
}

fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f
}

fn message_or_bytes(value: &[u8]) -> String {
    match fields(value, 0) {
        Some(fields) => match &fields[..] {
            [] => "(default)".to_owned(),
            // What a number or a text alone is stored as.
            [(1, only)] => only.clone(),
            _ => braced(&fields),
        },
        None => bytes(value),
    }
}

fn braced(fields: &[(u64, String)]) -> String {
    let fields: Vec<_> = fields.iter().map(|(tag, value)| format!("{tag}: {value}")).collect();
    format!("{{ {} }}", fields.join(", "))
}

/// The fields of a message, if it can be one.
fn fields(mut rest: &[u8], depth: usize) -> Option<Vec<(u64, String)>> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let (tag, wire) = (key >> 3, key & 7);
        if tag == 0 || depth > DEPTH_MAX {
            return None;
        }
        let value = match wire {
            0 => varint(&mut rest)?.to_string(),
            1 => u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?).to_string(),
            5 => u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?).to_string(),
            2 => {
                let len = usize::try_from(varint(&mut rest)?).ok()?;
                let content = take(&mut rest, len)?;
                let within = self::fields(content, depth + 1).filter(|it| !it.is_empty());
                match within {
                    _ if content.is_empty() => "\"\"".to_owned(),
                    Some(within) if !is_text(content) => braced(&within),
                    _ => bytes(content),
                }
            }
            _ => return None,
        };
        fields.push((tag, value));
    }
    Some(fields)
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_pair_is_shown_by_its_collection_its_key_and_its_value() {
        assert_eq!(pair(b"balances\0alice", &5_u64.encode_to_vec()), "balances[\"alice\"] = 5");
        assert_eq!(pair(b"supply\0", &0_u64.encode_to_vec()), "supply = (default)");
        let key = [b"jobs\0".as_slice(), &7_u64.to_be_bytes()].concat();
        let value = "print".to_owned().encode_to_vec();
        assert_eq!(pair(&key, &value), "jobs[0x0000000000000007] = \"print\"");
        assert_eq!(pair(b"\x01\x02", b"\xff\xff"), "[0x0102] = 0xffff");
        let message = [b"\x08\x05\x12\x03abc\x1a\x02".as_slice(), b"\x08\x01"].concat();
        assert_eq!(pair(b"m\0k", &message), "m[\"k\"] = { 1: 5, 2: \"abc\", 3: { 1: 1 } }");
    }
}

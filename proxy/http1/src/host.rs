//! `Host` and the authority of a target: `uri-host [ ":" port ]` (RFC 3986, section 3.2).

/// Whether these bytes name a host, with a port if there is one. A comma is refused though the
/// grammar has it: it is what two joined `Host` fields look like.
pub(crate) fn is_authority(bytes: &[u8]) -> bool {
    let (host, port) = match bytes.first() {
        Some(b'[') => {
            let Some(end) = bytes.iter().position(|byte| *byte == b']') else {
                return false;
            };
            let (host, rest) = bytes.split_at(end + 1);
            if !is_ip_literal(&host[1..end]) {
                return false;
            }
            match rest {
                [] => return true,
                [b':', port @ ..] => return is_port(port),
                _ => return false,
            }
        }
        _ => match bytes.iter().position(|byte| *byte == b':') {
            Some(colon) => (&bytes[..colon], &bytes[colon + 1..]),
            None => (bytes, &b""[..]),
        },
    };
    is_reg_name(host) && is_port(port)
}

fn is_port(port: &[u8]) -> bool {
    port.iter().all(u8::is_ascii_digit)
        && (port.is_empty()
            || std::str::from_utf8(port).is_ok_and(|port| port.parse::<u16>().is_ok()))
}

/// An IPv6 address, or `v1.` and what a later version may look like.
fn is_ip_literal(inside: &[u8]) -> bool {
    match std::str::from_utf8(inside) {
        Ok(text) if text.starts_with(['v', 'V']) => {
            let (version, rest) = text[1..].split_once('.').unwrap_or_default();
            !version.is_empty()
                && version.bytes().all(|byte| byte.is_ascii_hexdigit())
                && !rest.is_empty()
                && (rest.bytes())
                    .all(|byte| is_unreserved(byte) || is_sub_delim(byte) || byte == b':')
        }
        Ok(text) => text.parse::<std::net::Ipv6Addr>().is_ok(),
        Err(_) => false,
    }
}

fn is_reg_name(mut name: &[u8]) -> bool {
    loop {
        name = match name {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            [byte, rest @ ..] if is_unreserved(*byte) || is_sub_delim(*byte) => rest,
            _ => return false,
        }
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn is_sub_delim(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
    )
}

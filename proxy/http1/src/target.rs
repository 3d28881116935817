//! The request target (RFC 9112, section 3.2).

use std::ops::Range;

use http::Method;

use crate::Fault;
use crate::host::is_authority;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A path, as a range of the head without query; `None` is the path of `http://host`.
    Path(Option<Range<usize>>),
    /// The server as a whole: `OPTIONS *`.
    Server,
}

/// Reads the target at `range` of the head. An absolute target's authority goes before `Host`, so
/// it is checked here; nothing is chosen by it.
pub(crate) fn read(head: &[u8], range: Range<usize>, method: &Method) -> Result<Target, Fault> {
    let target = &head[range.clone()];
    let visible = |byte: &u8| matches!(byte, b'!'..=b'~') && *byte != b'#';
    if target.is_empty() || !target.iter().all(visible) {
        return Err(Fault::Target);
    }
    match target {
        [b'/', ..] => Ok(Target::Path(Some(without_query(head, range)))),
        b"*" if method == Method::OPTIONS => Ok(Target::Server),
        _ => absolute(head, range, method),
    }
}

fn absolute(head: &[u8], range: Range<usize>, method: &Method) -> Result<Target, Fault> {
    let target = &head[range.clone()];
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
        let begin = target.get(..scheme.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    });
    let authority = range.start + scheme.ok_or(Fault::Target)?.len();
    let rest = &head[authority..range.end];
    let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
    let path = authority + length.unwrap_or(rest.len());
    let host = &head[authority..path];
    // A URI of http without a host is invalid (RFC 9110, section 4.2.1).
    if host.is_empty() || host[0] == b':' || !is_authority(host) {
        return Err(Fault::Target);
    }
    match head[path..range.end].first() {
        Some(b'/') => Ok(Target::Path(Some(without_query(head, path..range.end)))),
        None if method == Method::OPTIONS => Ok(Target::Server),
        _ => Ok(Target::Path(None)),
    }
}

fn without_query(head: &[u8], range: Range<usize>) -> Range<usize> {
    let path = &head[range.clone()];
    let query = path.iter().position(|byte| *byte == b'?');
    range.start..range.start + query.unwrap_or(path.len())
}

//! What is wrong with a message, and which status says so.

use http::StatusCode;

/// Why a message cannot be read. The text is for the client's developer; it quotes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    #[error("the request line is not `METHOD TARGET HTTP/1.1`")]
    RequestLine,
    #[error("this method is not implemented")]
    UnknownMethod,
    #[error("the request target is neither a path nor an http URI")]
    Target,
    #[error("the request target is too long")]
    TargetTooLong,
    #[error("the version is not `HTTP/1.1`")]
    VersionSyntax,
    #[error("this version of HTTP is not served here")]
    Version,
    #[error("the status line is not `HTTP/1.1 STATUS REASON`")]
    StatusLine,
    #[error("a line does not end with CR LF")]
    LineEnd,
    #[error("a header field has no colon, or its name is not a token")]
    FieldName,
    #[error("a header field has white space before its colon")]
    SpaceBeforeColon,
    #[error("a header field is continued on the next line")]
    Folded,
    #[error("a header field's value has control characters")]
    FieldValue,
    #[error("the header is larger than {bytes} bytes")]
    HeaderTooLarge { bytes: usize },
    #[error("the header has more than {fields} fields")]
    TooManyFields { fields: usize },
    #[error("a request of HTTP/1.1 needs a Host header")]
    NoHost,
    #[error("there is more than one Host header")]
    TwoHosts,
    #[error("the host is not a name or an address with an optional port")]
    Host,
    #[error("Content-Length is not one number of bytes")]
    Length,
    #[error("there are two values of Content-Length")]
    TwoLengths,
    #[error("there are both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    #[error("Transfer-Encoding does not end with `chunked`, once")]
    Coding,
    #[error("no transfer coding but `chunked` is served here")]
    UnknownCoding,
    #[error("Transfer-Encoding does not exist in HTTP/1.0")]
    CodingInHttp10,
    #[error("no expectation but `100-continue` is met here")]
    Expectation,
    #[error("a chunk's size is not a hexadecimal number")]
    ChunkSize,
    #[error("a chunk's extension is not `;name=value`, or is too long")]
    ChunkExtension,
    #[error("a chunk is not followed by CR LF")]
    ChunkEnd,
    #[error("the trailer fields after the last chunk are not valid, or too many")]
    Trailer,
}

impl Fault {
    /// The status that RFC 9110 and RFC 9112 ask for.
    pub fn status(self) -> StatusCode {
        match self {
            Fault::TargetTooLong => StatusCode::URI_TOO_LONG,
            Fault::HeaderTooLarge { .. } | Fault::TooManyFields { .. } => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Fault::UnknownMethod | Fault::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Fault::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Fault::Expectation => StatusCode::EXPECTATION_FAILED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

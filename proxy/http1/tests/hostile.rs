//! Whatever the bytes are: no panic, no difference between one read and many, and no body that
//! ends elsewhere when it comes in pieces.

use proptest::prelude::*;
use tidegate_http1::{
    BodyDecoder, Fault, Framing, Limits, RequestReader, ResponseHead, write_chunk,
};

const LIMITS: Limits = Limits {
    bytes: 512,
    fields: 8,
};

/// What is found of a request that comes `step` bytes at a time.
fn read_in_steps(bytes: &[u8], step: usize) -> Result<Option<usize>, Fault> {
    let mut reader = RequestReader::default();
    for end in (0..bytes.len()).step_by(step).skip(1).chain([bytes.len()]) {
        if let Some(head) = reader.read(&bytes[..end], &LIMITS)? {
            return Ok(Some(head.len()));
        }
    }
    Ok(None)
}

/// Bytes that are nearly a request.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let pieces: [&[u8]; 13] = [
        b"POST ",
        b"/ HTTP/1.1",
        b"\r\n",
        b"\n",
        b"\r",
        b"Host: t",
        b"Content-Length: 3",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding",
        b": ",
        b" ",
        b"\0",
        b"\xff",
    ];
    let piece = proptest::sample::select(pieces.to_vec());
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_request_is_the_same_in_one_piece_and_in_many(bytes in nearly(), step in 1usize..9) {
        let whole = read_in_steps(&bytes, bytes.len().max(1));
        let pieces = read_in_steps(&bytes, step);
        // A fault may be found earlier, and another one, but never a request instead.
        match (whole, pieces) {
            (Ok(whole), Ok(pieces)) => prop_assert_eq!(whole, pieces),
            (whole, pieces) => prop_assert!(whole.is_err() && pieces.is_err(), "{:?} {:?}", whole, pieces),
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        let _ = RequestReader::default().read(&bytes, &LIMITS);
        let _ = ResponseHead::read(&bytes, &LIMITS);
        let _ = BodyDecoder::new(Framing::Chunked).read(&bytes, &mut Vec::new());
    }

    #[test]
    fn chunks_are_read_as_they_were_written(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8),
        behind in proptest::collection::vec(any::<u8>(), 0..8),
        step in 1usize..40,
    ) {
        let mut coded = Vec::new();
        pieces.iter().for_each(|piece| write_chunk(piece, &mut coded));
        write_chunk(b"", &mut coded);
        let length = coded.len();
        coded.extend_from_slice(&behind);
        let (mut body, mut data, mut used) = (BodyDecoder::new(Framing::Chunked), Vec::new(), 0);
        while !body.is_done() {
            let end = (used + step).min(coded.len());
            used += body.read(&coded[used..end], &mut data).expect("it is valid");
        }
        prop_assert_eq!(used, length);
        prop_assert_eq!(data, pieces.concat());
    }
}

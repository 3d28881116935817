//! Files that lie: each is refused with a message that names what is wrong, and costs no memory.

#![allow(clippy::unwrap_used)]

use tidegate_gguf::{Gguf, Kind, Numbers, Scalar, Strings, Value, Writer};

/// A well-made file: attributes of all kinds, two tensors.
fn sound() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.attribute("general.architecture", &Value::String("llama".into()));
    writer.attribute("llama.block_count", &Value::Unsigned(1));
    writer.attribute("tokenizer.ggml.add_bos_token", &Value::Bool(true));
    writer.attribute("llama.rope.freq_base", &Value::Float(10_000.0));
    let tokens: Strings = ["<s>", "", "ä"].into_iter().collect();
    writer.attribute("tokenizer.ggml.tokens", &Value::Strings(tokens));
    let scores = Numbers {
        scalar: Scalar::F32,
        bytes: [0.5f32, -1.0]
            .iter()
            .flat_map(|s| s.to_le_bytes())
            .collect(),
    };
    writer.attribute("tokenizer.ggml.scores", &Value::Numbers(scores));
    writer.tensor("a", Kind::Q4_1, &[64, 3]).unwrap();
    writer.tensor("b", Kind::F32, &[5]).unwrap();
    let mut file = Vec::new();
    let data = |name: &str| -> Result<Vec<u8>, std::io::Error> {
        Ok(vec![1; if name == "a" { 120 } else { 20 }])
    };
    writer.write(&mut file, data).unwrap();
    file
}

fn refusal(file: &[u8]) -> String {
    match Gguf::read(file, file.len() as u64) {
        Ok(_) => panic!("a hostile file was read"),
        Err(error) => error.to_string(),
    }
}

/// A header by hand: counts, then whatever follows.
fn header(tensors: u64, attributes: u64, rest: &[u8]) -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend(tensors.to_le_bytes());
    file.extend(attributes.to_le_bytes());
    file.extend(rest);
    file
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn entry(name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut bytes = string(name);
    bytes.extend((dimensions.len() as u32).to_le_bytes());
    bytes.extend(dimensions.iter().flat_map(|d| d.to_le_bytes()));
    bytes.extend(kind.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

/// A file of these tensors and `data` bytes behind the header.
fn with_tensors(entries: &[Vec<u8>], data: usize) -> Vec<u8> {
    let mut file = header(entries.len() as u64, 0, &entries.concat());
    file.resize(file.len().next_multiple_of(32) + data, 0);
    file
}

#[test]
fn a_sound_file_is_read_as_it_was_written() {
    let file = sound();
    let gguf = Gguf::read(&file[..], file.len() as u64).unwrap();
    let text = |key| gguf.attribute(key).and_then(Value::as_str);
    assert_eq!(text("general.architecture"), Some("llama"));
    let tokens = gguf.attribute("tokenizer.ggml.tokens").unwrap();
    let tokens: Vec<_> = tokens.as_strings().unwrap().iter().collect();
    assert_eq!(tokens, ["<s>", "", "ä"]);
    let scores = gguf.attribute("tokenizer.ggml.scores").unwrap();
    let scores: Vec<_> = scores.as_numbers().unwrap().iter().collect();
    assert_eq!(scores, [Value::Float(0.5), Value::Float(-1.0)]);
    let (a, b) = (gguf.tensor("a").unwrap(), gguf.tensor("b").unwrap());
    assert_eq!((a.columns(), a.rows(), a.bytes), (64, 3, 120));
    assert_eq!(b.offset - a.offset, 128);
    let place = a.offset as usize..(a.offset + a.bytes) as usize;
    assert_eq!(file[place], [1; 120]);
}

#[test]
fn what_is_no_such_file_is_told_apart() {
    assert!(refusal(b"PK\x03\x04 and so on").contains("no GGUF file"));
    assert!(refusal(b"GG").contains("the magic would take 4 bytes, 2 are left"));
    assert!(refusal(b"GGUF\x01\0\0\0").contains("version 1"));
    assert!(refusal(b"GGUF\0\0\0\x03").contains("big-endian"));
}

#[test]
fn every_cut_is_noticed() {
    let file = sound();
    for length in 0..file.len() - 12 {
        let cut = &file[..length];
        assert!(Gguf::read(cut, length as u64).is_err(), "cut at {length}");
    }
}

#[test]
fn huge_counts_are_refused_before_anything_is_allocated() {
    let message = refusal(&header(0, u64::MAX, &[]));
    assert!(
        message.contains("18446744073709551615 attributes cannot fit"),
        "{message}"
    );
    assert!(refusal(&header(u64::MAX / 2, 0, &[])).contains("tensors cannot fit"));
    let huge_string = [
        string("k"),
        8u32.to_le_bytes().to_vec(),
        u64::MAX.to_le_bytes().to_vec(),
    ];
    assert!(refusal(&header(0, 1, &huge_string.concat())).contains("a string would take"));
    for (kind, what) in [(8u32, "strings"), (4, "values"), (12, "values")] {
        let array = [
            string("k"),
            9u32.to_le_bytes().to_vec(),
            kind.to_le_bytes().to_vec(),
            (u64::MAX / 4).to_le_bytes().to_vec(),
        ];
        let message = refusal(&header(0, 1, &array.concat()));
        assert!(
            message.contains(&format!("{what} of an array cannot fit")),
            "{message}"
        );
    }
    let many = header(0, 70_000, &vec![0; 70_000 * 14]);
    assert!(refusal(&many).contains("70000 attributes; at most 65536"));
    let long_name = [u64::MAX.to_le_bytes().to_vec(), vec![b'a'; 64]].concat();
    assert!(refusal(&header(0, 1, &long_name)).contains("a name of"));
}

#[test]
fn attributes_are_of_known_types_and_stand_there_once() {
    let unknown = [string("k"), 13u32.to_le_bytes().to_vec(), vec![0; 8]].concat();
    assert!(refusal(&header(0, 1, &unknown)).contains("13 is no type"));
    let nested = [
        string("k"),
        9u32.to_le_bytes().to_vec(),
        9u32.to_le_bytes().to_vec(),
        vec![0; 16],
    ];
    assert!(refusal(&header(0, 1, &nested.concat())).contains("arrays of arrays"));
    let neither = [string("k"), 7u32.to_le_bytes().to_vec(), vec![2]].concat();
    assert!(refusal(&header(0, 1, &neither)).contains("2 is no boolean"));
    let once = [string("k"), 7u32.to_le_bytes().to_vec(), vec![1]].concat();
    assert!(refusal(&header(0, 2, &[once.clone(), once].concat())).contains("appears twice"));
    let not_utf8 = [
        string("k"),
        8u32.to_le_bytes().to_vec(),
        1u64.to_le_bytes().to_vec(),
        vec![0xff],
    ];
    assert!(refusal(&header(0, 1, &not_utf8.concat())).contains("not valid UTF-8"));
    for wrong in [0u32, 3, 4, 1 << 20] {
        let attribute = [
            string("general.alignment"),
            4u32.to_le_bytes().to_vec(),
            wrong.to_le_bytes().to_vec(),
        ];
        assert!(refusal(&header(0, 1, &attribute.concat())).contains("general.alignment is"));
    }
}

#[test]
fn tensors_have_shapes_that_the_file_can_hold() {
    let one = |dimensions: &[u64], kind, offset| {
        with_tensors(&[entry("t", dimensions, kind, offset)], 64)
    };
    assert!(refusal(&one(&[], 0, 0)).contains("0 dimensions"));
    assert!(refusal(&one(&[1; 5], 0, 0)).contains("5 dimensions"));
    assert!(refusal(&one(&[0, 4], 0, 0)).contains("holds no value"));
    assert!(refusal(&one(&[33], 3, 0)).contains("no whole blocks of 32 (Q4_1)"));
    assert!(refusal(&one(&[1 << 40, 1 << 40], 0, 0)).contains("too large"));
    assert!(refusal(&one(&[u64::MAX], 0, 0)).contains("too large"));
    assert!(refusal(&one(&[4], 10, 0)).contains("Q2_K (type 10), which is not supported"));
    assert!(refusal(&one(&[4], 99, 0)).contains("type 99"));
    assert!(refusal(&one(&[4], 0, 4)).contains("no multiple of the alignment"));
    assert!(refusal(&one(&[17], 0, 0)).contains("would end at byte 68"));
    assert!(refusal(&one(&[4], 0, u64::MAX - 31)).contains("would end at byte"));
}

#[test]
fn tensors_stand_apart() {
    let pair = |second| [entry("a", &[16], 0, 0), entry("b", &[8], 0, second)];
    assert!(Gguf::read(&with_tensors(&pair(64), 96)[..], 10_000).is_ok());
    let message = refusal(&with_tensors(&pair(32), 96));
    assert!(message.contains("\"a\" and \"b\" overlap"), "{message}");
    let same = [entry("a", &[16], 0, 0), entry("a", &[8], 0, 64)];
    assert!(refusal(&with_tensors(&same, 96)).contains("appears twice"));
}

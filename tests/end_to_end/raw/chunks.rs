//! The chunked coding: what is not in its grammar ends the connection, with whatever follows.

use super::{BODY, Case, SECOND, check, post};

const GRAMMAR: &str = "RFC 9112, 7.1";

#[tokio::test]
async fn chunks_follow_the_grammar_or_the_request_is_refused() {
    let extension = format!("d;{}\r\n{BODY}\r\n0\r\n\r\n", "a".repeat(20_000));
    let trailer = format!("d\r\n{BODY}\r\n0\r\n{}\r\n", "X: y\r\n".repeat(5_000));
    let wrong: Vec<String> = [
        "\r\n{B}\r\n0\r\n\r\n",
        "\r\n\r\n",
        "d\r\n{B}\r\n\r\n\r\n",
        "d\r\n{B}\r\n;x\r\n\r\n",
        "d\r\n{B}\r\n  \r\n\r\n",
        "d;a\n0\r\n{B}\r\n0\r\n\r\n",
        "d;\0\r\n{B}\r\n0\r\n\r\n",
        "d;\r\n{B}\r\n0\r\n\r\n",
        "d;a=\r\n{B}\r\n0\r\n\r\n",
        "d;a=\"b\r\n{B}\r\n0\r\n\r\n",
        "d \r\n{B}\r\n0\r\n\r\n",
        " d\r\n{B}\r\n0\r\n\r\n",
        "+d\r\n{B}\r\n0\r\n\r\n",
        "-d\r\n{B}\r\n0\r\n\r\n",
        "0xd\r\n{B}\r\n0\r\n\r\n",
        "g\r\n{B}\r\n0\r\n\r\n",
        "d\n{B}\r\n0\r\n\r\n",
        "d\r\n{B}\n0\r\n\r\n",
        "d\r\n{B}0\r\n\r\n",
        "c\r\n{B}\r\n0\r\n\r\n",
        "1000000000000000d\r\n{B}\r\n0\r\n\r\n",
        "d\r\n{B}\r\n0\r\njunk\r\n\r\n",
        "d\r\n{B}\r\n0\r\nX: a\0b\r\n\r\n",
        "d\r\n{B}\r\n0\r\n folded\r\n\r\n",
        "d\r\n{B}\r\n0\r\nX : a\r\n\r\n",
        "d\r\n{B}\r\n0\r\nX: a\n\n",
        "d\r\n{B}\r\n0\n\r\n",
    ]
    .iter()
    .map(|body| body.replace("{B}", BODY))
    .chain([extension, trailer])
    .collect();
    let send = |body: &str| post("Transfer-Encoding: chunked", &format!("{body}{SECOND}"));
    let mut cases: Vec<Case> = wrong
        .iter()
        .map(|body| Case::new(&format!("{body:.60?}"), send(body), 400, GRAMMAR))
        .collect();
    for right in [
        "d\r\n{B}\r\n0\r\n\r\n",
        "D\r\n{B}\r\n000\r\n\r\n",
        "0000d;a\r\n{B}\r\n0;b=\"c;\\\"d\"\r\nX: y\r\n\r\n",
        "d ; a = b ; c\r\n{B}\r\n0\r\n\r\n",
        "1\r\n{\r\nc\r\n\"input\":\"a\"}\r\n0\r\n\r\n",
    ] {
        let body = right.replace("{B}", BODY);
        let mut case = Case::new(&format!("{body:?}"), send(&body), 200, GRAMMAR);
        case.answers = vec![200, 200];
        cases.push(case);
    }
    check(cases).await;
}

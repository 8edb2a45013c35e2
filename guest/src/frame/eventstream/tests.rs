use super::*;

/// A message as the service writes it.
fn message(headers: &[(&str, &[u8])], payload: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    for (name, value) in headers {
        fields.push(u8::try_from(name.len()).unwrap());
        fields.extend_from_slice(name.as_bytes());
        fields.extend_from_slice(value);
    }
    let length = u32::try_from(LEAST + fields.len() + payload.len()).unwrap();
    let mut all = length.to_be_bytes().to_vec();
    all.extend_from_slice(&u32::try_from(fields.len()).unwrap().to_be_bytes());
    all.extend_from_slice(&crc32fast::hash(&all).to_be_bytes());
    all.extend_from_slice(&fields);
    all.extend_from_slice(payload);
    all.extend_from_slice(&crc32fast::hash(&all).to_be_bytes());
    all
}

/// A header's text, after its name: the type, the length, the text.
fn text(value: &str) -> Vec<u8> {
    let mut bytes = vec![7];
    bytes.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(value.as_bytes());
    bytes
}

fn event(name: &str, payload: &str) -> Vec<u8> {
    message(&[(":event-type", &text(name)), (":message-type", &text("event"))], payload.as_bytes())
}

fn read(pieces: &[&[u8]]) -> Result<Vec<(Option<String>, String)>, Error> {
    let mut framing = EventStream::default();
    let mut events = Vec::new();
    let mut sink = |event: Event<'_>| {
        events.push((event.name.map(str::to_owned), event.data.to_owned()));
        Ok(())
    };
    pieces.iter().try_for_each(|piece| framing.push(piece, &mut sink))?;
    framing.end(&mut sink)?;
    Ok(events)
}

/// A message of the documentation's shape whose checksums were computed elsewhere (zlib's crc32).
const FOREIGN: &[u8] = b"\x00\x00\x00\x3d\x00\x00\x00\x20\x07\xfd\x83\x96\x0ccontent-type\x07\x00\x10application/json{'foo':'bar'}\x8d\x9c\x08\xb1";

#[test]
fn the_checksums_are_those_that_others_compute() {
    assert_eq!(length(FOREIGN).unwrap(), Some(FOREIGN.len()));
    let (message, sum) = FOREIGN.split_at(FOREIGN.len() - 4);
    assert_eq!(crc32fast::hash(message), number(sum));
}

#[test]
fn every_cut_gives_the_same_events() {
    let odd: [(&str, &[u8]); 11] = [
        ("t", &[0]),
        ("f", &[1]),
        ("b", &[2, 1]),
        ("s", &[3, 0, 1]),
        ("i", &[4, 0, 0, 0, 1]),
        ("l", &[5, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("a", &[6, 0, 2, 255, 254]),
        ("m", &[8, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("u", &[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (":event-type", &text("odd")),
        (":message-type", &text("event")),
    ];
    let exception = [(":message-type", text("exception")), (":exception-type", text("throttlingException"))];
    let exception: Vec<(&str, &[u8])> = exception.iter().map(|(name, value)| (*name, value.as_slice())).collect();
    let error =
        [(":message-type", text("error")), (":error-code", text("Oops")), (":error-message", text("it \"broke\""))];
    let error: Vec<(&str, &[u8])> = error.iter().map(|(name, value)| (*name, value.as_slice())).collect();
    let all = [
        event("a", r#"{"text":"é\n"}"#),
        message(&odd, b"{}"),
        event("empty", ""),
        message(&exception, br#"{"message":"slow down"}"#),
        message(&error, b""),
    ]
    .concat();
    let named = |name: &str, data: &str| (Some(name.to_owned()), data.to_owned());
    let wanted = [
        named("a", r#"{"text":"é\n"}"#),
        named("odd", "{}"),
        named("empty", ""),
        named("exception:throttlingException", r#"{"message":"slow down"}"#),
        named("exception:Oops", r#"{"message":"it \"broke\""}"#),
    ];
    for first in 0..=all.len() {
        for second in [first, (first + 1).min(all.len()), (first + 13).min(all.len()), all.len()] {
            let pieces = [&all[..first], &all[first..second], &[], &all[second..]];
            assert_eq!(read(&pieces).unwrap(), wanted, "cut at {first} and {second}");
        }
    }
    let bytes: Vec<&[u8]> = all.chunks(1).collect();
    assert_eq!(read(&bytes).unwrap(), wanted);
}

#[test]
fn a_changed_byte_is_an_error_wherever_it_is() {
    let good = [event("a", r#"{"text":"hello"}"#), event("b", "{}")].concat();
    for at in 0..good.len() {
        for change in [1, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= change;
            assert!(read(&[&bad]).is_err(), "byte {at}");
        }
    }
}

#[test]
fn an_end_within_a_message_is_an_error_and_one_between_two_is_none() {
    let all = [event("a", "{}"), event("b", "{}")].concat();
    let first = event("a", "{}").len();
    for end in 0..all.len() {
        let result = read(&[&all[..end]]);
        assert_eq!(result.is_ok(), end == 0 || end == first, "end at {end}");
        if let Err(error) = result {
            assert_eq!(error.kind, ErrorKind::Connection);
        }
    }
}

/// The lengths of a message, with a checksum that fits.
fn prelude(all: u32, headers: u32) -> Vec<u8> {
    let mut bytes = [all.to_be_bytes(), headers.to_be_bytes()].concat();
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

#[test]
fn lengths_that_make_no_sense_are_refused_before_anything_is_waited_for() {
    for (all, headers) in [(0, 0), (15, 0), (16, 1), (100, 85), (u32::MAX, 0), (33 << 20, 0), (16, u32::MAX)] {
        let error = read(&[&prelude(all, headers)]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Provider, "{all} {headers}");
    }
}

#[test]
fn headers_that_make_no_sense_are_an_error() {
    let whole: [&[u8]; 7] = [&[10], &[7], &[7, 0], &[7, 0, 9, b'x'], &[7, 0, 1, 0xff], &[9, 0], &[5, 0, 0]];
    for value in whole {
        let error = read(&[&message(&[(":message-type", value)], b"{}")]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Provider, "{value:?}");
    }
    assert!(read(&[&message(&[(":message-type", &text("letter"))], b"{}")]).is_err());
    assert!(read(&[&message(&[], b"{}")]).is_err());
    assert!(read(&[&message(&[(":message-type", &text("event"))], &[0xff])]).is_err());
}

use proptest::prelude::*;

use super::*;

fn taken(outbox: &Outbox) -> Vec<u8> {
    let mut all = Vec::new();
    while outbox.unread() > 0 {
        let _: Result<(), ()> = outbox.take(|bytes| {
            all.extend_from_slice(bytes);
            Ok(bytes.len())
        });
    }
    all
}

#[test]
fn a_reply_waits_for_the_ones_before_it() {
    let outbox = Outbox::default();
    let (first, second) = (outbox.reserve(), outbox.reserve());
    outbox.answer(|out| out.extend_from_slice(b"+PONG\r\n"));
    outbox.deliver(second, b":2\r\n", Form::AsIs);
    assert_eq!(taken(&outbox), b"");
    outbox.deliver(first, b":1\r\n", Form::AsIs);
    assert_eq!(taken(&outbox), b":1\r\n:2\r\n+PONG\r\n");
    assert_eq!(outbox.in_flight(), 0);
}

#[test]
fn a_second_reply_for_a_slot_is_thrown_away() {
    let outbox = Outbox::default();
    let slot = outbox.reserve();
    outbox.fail(slot, "UNKNOWN x");
    outbox.deliver(slot, b"+late\r\n", Form::AsIs);
    assert_eq!(taken(&outbox), b"-UNKNOWN x\r\n");
}

#[test]
fn a_muted_request_leaves_no_bytes() {
    let outbox = Outbox::default();
    let heard = outbox.reserve();
    outbox.mute(true);
    let muted = outbox.reserve();
    outbox.answer(|out| out.extend_from_slice(b"+muted\r\n"));
    outbox.mute(false);
    outbox.answer(|out| out.extend_from_slice(b"+OK\r\n"));
    outbox.deliver(muted, b":2\r\n", Form::AsIs);
    outbox.deliver(heard, b":1\r\n", Form::AsIs);
    assert_eq!(taken(&outbox), b":1\r\n+OK\r\n");
}

#[test]
fn nothing_reaches_a_client_that_has_gone() {
    let outbox = Outbox::default();
    let slot = outbox.reserve();
    outbox.close();
    outbox.deliver(slot, b":1\r\n", Form::AsIs);
    outbox.push(b"+x\r\n");
    assert_eq!((outbox.unread(), outbox.in_flight()), (0, 0));
}

#[test]
fn a_large_reply_passes_in_pieces() {
    let outbox = Outbox::default();
    outbox.answer(|out| out.extend_from_slice(b"+a\r\n"));
    let (large, next) = (outbox.reserve(), outbox.reserve());
    outbox.deliver(next, b"+z\r\n", Form::AsIs);
    outbox.deliver_part(large, Bytes::from(vec![b'x'; 20_000]), false);
    outbox.deliver_part(large, Bytes::from_static(b"y\r\n"), true);
    let all = taken(&outbox);
    assert_eq!(all.len(), 4 + 20_000 + 3 + 4);
    assert!(all.starts_with(b"+a\r\nxx") && all.ends_with(b"xy\r\n+z\r\n"));
}

#[test]
fn an_error_is_not_written_into_a_reply_that_has_begun() {
    let outbox = Outbox::default();
    let slot = outbox.reserve();
    outbox.deliver_part(slot, Bytes::from_static(b"$100\r\nxx"), false);
    outbox.fail(slot, "UNKNOWN x");
    assert!(outbox.is_closed());
    assert_eq!(taken(&outbox), b"$100\r\nxx");
}

#[test]
fn the_window_is_as_wide_as_the_last_replies_allow() {
    let outbox = Outbox::default();
    assert_eq!(outbox.window(1 << 20), FIRST_WINDOW);
    let slot = outbox.reserve();
    outbox.deliver(slot, &[b'x'; 1000], Form::AsIs);
    assert_eq!(outbox.window(1 << 20), FIRST_WINDOW + 1);
    assert_eq!(outbox.window(10_000), 10);
    let slot = outbox.reserve();
    outbox.deliver_part(slot, Bytes::from(vec![b'x'; 3 << 20]), false);
    outbox.deliver_part(slot, Bytes::from_static(b"\r\n"), true);
    assert_eq!(outbox.window(1 << 20), 1, "one at a time, however large");
    for _ in 0..200 {
        let slot = outbox.reserve();
        outbox.deliver(slot, b"+OK\r\n", Form::AsIs);
    }
    assert_eq!(outbox.window(1 << 20), FIRST_WINDOW + 200, "a large one is forgotten");
}

proptest! {
    #[test]
    fn replies_leave_in_the_order_of_their_requests(order in Just((0..20usize).collect::<Vec<_>>()).prop_shuffle()) {
        let outbox = Outbox::default();
        let slots: Vec<_> = (0..20).map(|_| outbox.reserve()).collect();
        let mut seen = Vec::new();
        for index in order {
            outbox.deliver(slots[index], format!(":{index}\r\n").as_bytes(), Form::AsIs);
            seen.extend(taken(&outbox));
        }
        let expected: String = (0..20).map(|index| format!(":{index}\r\n")).collect();
        prop_assert_eq!(String::from_utf8(seen).unwrap(), expected);
    }
}

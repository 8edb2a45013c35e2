//! Connections that several exchanges share.

use super::*;

/// A route of which the first connection tells what it is; and one to another host.
const X: Key = (SHARING, 0);
const Y: Key = (SHARING + 1, 0);

/// Asks for `count` exchanges on a route.
fn ask(story: &mut Story, route: Key, waiters: std::ops::Range<u32>) -> Vec<Result<SlotId, Place>> {
    waiters.map(|waiter| story.ask(route, waiter)).collect()
}

fn set_capacity(story: &mut Story, slot: SlotId, capacity: usize) {
    story.step(|machine, actions| machine.set_capacity(&X, slot, capacity, actions));
}

fn press(story: &mut Story, place: &Result<SlotId, Place>) -> Option<Instant> {
    let Err(Place::Waits(id)) = place else { panic!("it does not wait") };
    let now = story.now;
    story.step(|machine, actions| machine.press(&X, *id, now, actions))
}

#[test]
fn one_connection_is_opened_for_all_who_do_not_know_what_it_will_be() {
    let mut story = Story::new(100, 0);
    ask(&mut story, X, 0..50);
    assert_eq!(story.opened.len(), 1);
    let slot = story.connect_shared(1);
    assert_eq!(story.handed, [(0, slot)]);
    set_capacity(&mut story, slot, 8);
    assert_eq!(story.handed.iter().map(|(waiter, _)| *waiter).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert!(story.opened.is_empty());
    for waiter in 8..50 {
        story.back(X, slot);
        assert_eq!(story.handed.back(), Some(&(waiter, slot)));
    }
}

#[test]
fn one_that_carries_one_exchange_releases_all_who_waited_to_hear() {
    let mut story = Story::new(3, 0);
    ask(&mut story, X, 0..5);
    let (route, slot, _) = story.opened.pop_front().unwrap();
    let expires = story.now + Duration::from_secs(15);
    story.step(|machine, actions| machine.connected(&route, slot, slot, expires, actions));
    assert_eq!((story.handed.len(), story.opened.len()), (1, 2));
    // It is remembered after the last of them has gone.
    story.connect();
    while let Some((_, slot)) = story.handed.pop_front() {
        story.back(X, slot);
    }
    story.step(State::clear);
    story.close();
    ask(&mut story, X, 5..7);
    assert_eq!(story.opened.len(), 2);
}

#[test]
fn one_that_fails_is_heard_of_by_one_and_the_others_each_try() {
    let mut story = Story::new(10, 0);
    ask(&mut story, X, 0..4);
    let (route, slot, _) = story.opened.pop_front().unwrap();
    story.step(|machine, actions| machine.closed(slot, actions));
    assert_eq!(story.step(|machine, actions| machine.failed(&route, Instant::now(), actions)), Some(0));
    assert_eq!(story.opened.len(), 3);
}

#[test]
fn exchanges_count_as_connections_do() {
    for (total, per_host) in [(3, 0), (0, 3)] {
        let mut story = Story::new(total, per_host);
        ask(&mut story, X, 0..5);
        let slot = story.connect_shared(8);
        assert_eq!((story.handed.len(), story.machine.counts().open), (3, 1));
        assert!(story.ask(X, 9).is_err());
        story.back(X, slot);
        assert_eq!(story.handed.len(), 4);
        // Another host is let through where the bound is the host's.
        assert_eq!(story.ask(A, 10).is_err() && story.opened.is_empty(), total == 3);
    }
}

#[test]
fn an_earlier_request_for_another_host_gets_the_place_first() {
    let mut story = Story::new(2, 0);
    ask(&mut story, X, 0..2);
    let slot = story.connect_shared(8);
    assert_eq!(story.handed.len(), 2);
    assert!(story.ask(A, 2).is_err());
    assert!(story.ask(X, 3).is_err());
    story.back(X, slot);
    assert_eq!((story.opened.len(), story.handed.len()), (1, 2));
    story.back(X, slot);
    // What carries nothing needs no place.
    assert_eq!(story.handed.back(), Some(&(3, slot)));
}

#[test]
fn what_carries_nothing_makes_room_and_what_carries_something_does_not() {
    let mut story = Story::new(1, 0);
    assert!(story.ask(X, 0).is_err());
    let slot = story.connect_shared(8);
    assert!(story.ask(Y, 1).is_err());
    assert!(story.closing.is_empty());
    story.back(X, slot);
    assert_eq!(story.closing, [slot]);
    story.close();
    assert_eq!(story.opened.len(), 1);
}

#[test]
fn a_further_connection_is_opened_once_all_have_been_full_for_long() {
    let mut story = Story::new(10, 0);
    let places = ask(&mut story, X, 0..6);
    let slot = story.connect_shared(2);
    let due = story.now + PATIENCE;
    assert_eq!(press(&mut story, &places[2]), Some(due));
    assert!(story.opened.is_empty());
    story.now = due;
    assert_eq!(press(&mut story, &places[2]), Some(due + PATIENCE));
    press(&mut story, &places[3]);
    assert_eq!(story.opened.len(), 1, "one at a time");
    story.connect_shared(2);
    assert_eq!(story.handed.len(), 4);
    assert_eq!(press(&mut story, &places[0]), None);
    // The fuller one is used first, so that the other can age.
    story.back(X, slot);
    story.back(X, slot);
    assert_eq!((story.handed.len(), story.machine.counts().idle), (6, 0));
}

#[test]
fn one_that_takes_no_more_closes_with_its_last_exchange() {
    let mut story = Story::new(10, 0);
    ask(&mut story, X, 0..3);
    let slot = story.connect_shared(3);
    set_capacity(&mut story, slot, 0);
    assert!(story.ask(X, 3).is_err());
    assert_eq!(story.opened.len(), 1, "another is opened at once");
    story.back(X, slot);
    story.back(X, slot);
    assert!(story.closing.is_empty());
    story.back(X, slot);
    assert_eq!(story.closing, [slot]);
}

#[test]
fn one_that_closes_under_its_exchanges_frees_all_their_places() {
    let mut story = Story::new(3, 0);
    ask(&mut story, X, 0..3);
    let slot = story.connect_shared(3);
    story.step(|machine, actions| machine.closed(slot, actions));
    assert_eq!(story.machine.books.all().open, 0);
    story.back(X, slot);
    assert_eq!(story.machine.counts(), Counts { open: 0, idle: 0, waiting: 0, evicted: 0 });
    assert!(story.machine.lanes.is_empty());
}

#[test]
fn what_has_been_idle_too_long_is_not_used() {
    let mut story = Story::new(10, 0);
    assert!(story.ask(X, 0).is_err());
    let slot = story.connect_shared(3);
    story.back(X, slot);
    story.now += Duration::from_secs(16);
    assert!(story.ask(X, 1).is_err());
    assert_eq!((story.closing.pop_front(), story.opened.len()), (Some(slot), 1));
}

#[test]
fn who_waits_for_a_place_hears_how_many_there_are() {
    let mut story = Story::new(10, 0);
    let places = ask(&mut story, X, 0..3);
    let Err(Place::Waits(last)) = places[2] else { panic!("it does not wait") };
    assert_eq!(story.machine.blocked(&X, last), None);
    story.connect_shared(2);
    assert_eq!(story.machine.blocked(&X, last), Some(Full::Streams { connections: 1, streams: 2 }));
}

#[test]
fn a_further_connection_that_fails_fails_nobody_who_has_another() {
    let mut story = Story::new(10, 0);
    let places = ask(&mut story, X, 0..4);
    let live = story.connect_shared(2);
    story.now += PATIENCE;
    press(&mut story, &places[3]);
    let (route, slot, _) = story.opened.pop_front().unwrap();
    let now = story.now;
    story.step(|machine, actions| machine.closed(slot, actions));
    assert_eq!(story.step(|machine, actions| machine.failed(&route, now, actions)), None);
    // The next one is not tried at once.
    assert_eq!(press(&mut story, &places[3]), Some(now + PATIENCE));
    story.back(X, live);
    story.back(X, live);
    assert_eq!(story.handed.len(), 4);
}

#[test]
fn those_who_lost_their_connection_each_try_once_the_next_has_failed() {
    let mut story = Story::new(10, 0);
    ask(&mut story, X, 0..4);
    let slot = story.connect_shared(1);
    story.step(|machine, actions| machine.closed(slot, actions));
    assert_eq!(story.opened.len(), 1);
    let (route, slot, _) = story.opened.pop_front().unwrap();
    story.step(|machine, actions| machine.closed(slot, actions));
    assert_eq!(story.step(|machine, actions| machine.failed(&route, Instant::now(), actions)), Some(1));
    assert_eq!(story.opened.len(), 2);
}

#[test]
fn a_queue_that_no_connection_could_serve_is_bounded_while_it_hears_what_it_will_be() {
    let mut story = Story::new(3, 0);
    story.machine.limits.waiters = 2;
    let places = ask(&mut story, X, 0..8);
    assert_eq!(places.iter().filter(|place| **place == Err(Place::Full)).count(), 3);
}

//! Events in any order, against what must hold of the machine at every step.

use super::*;

/// A small generator (xorshift), so that a failure repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

#[test]
fn under_any_order_of_events_the_limits_hold_and_nobody_is_forgotten() {
    for seed in 1..200 {
        let mut dice = Dice(seed * 0x9E37_79B9);
        let (mut total, per_host, per_proxy) = (1 + dice.roll(5), dice.roll(4), dice.roll(4));
        let swaps = seed % 2 == 0;
        let mut story = Story::behind(per_proxy, total, per_host);
        let mut held: Vec<(Key, SlotId)> = Vec::new();
        let mut waiting: HashMap<u32, (Key, WaiterId)> = HashMap::new();
        for step in 0..400 {
            match dice.roll(if swaps { 7 } else { 6 }) {
                0 | 1 => {
                    let host = [0, 1, 2, SHARING, SHARING + 1][dice.roll(5)];
                    let route = (host, u8::try_from(dice.roll(2)).unwrap());
                    match story.ask(route, step) {
                        Ok(slot) => held.push((route, slot)),
                        Err(Place::Waits(id)) => drop(waiting.insert(step, (route, id))),
                        Err(Place::Full) => unreachable!("waiters are not bounded here"),
                    }
                }
                2 if !held.is_empty() => end(&mut story, &mut dice, &mut held),
                3 => come(&mut story, &mut dice, &mut waiting),
                4 => {
                    if let Some(slot) = story.closing.pop_front() {
                        story.step(|machine, actions| machine.closed(slot, actions));
                    }
                }
                6 => total = story.swap(1 + dice.roll(8), per_host),
                5 if step % 2 == 0 => {
                    story.now += Duration::from_secs(1);
                    let waits = waiting.values().next().copied();
                    if let Some((route, id)) = waits {
                        let now = story.now;
                        story.step(|machine, actions| machine.press(&route, id, now, actions));
                    }
                }
                _ => {
                    let waiter = waiting.keys().copied().min_by_key(|waiter| waiter % 7);
                    if let Some((route, id)) = waiter.and_then(|waiter| waiting.remove(&waiter)) {
                        assert!(story.machine.abandon(&route, id));
                    }
                }
            }
            while let Some((waiter, slot)) = story.handed.pop_front() {
                let (route, _) = waiting.remove(&waiter).expect("only who waits is served");
                held.push((route, slot));
            }
            check(&story, &held, total, per_host, swaps);
        }
        settle(&mut story, held, waiting);
    }
}

/// An exchange ends, one way or the other.
fn end(story: &mut Story, dice: &mut Dice, held: &mut Vec<(Key, SlotId)>) {
    let (route, slot) = held.swap_remove(dice.roll(held.len()));
    let shared = story.shared.contains(&slot);
    match dice.roll(4) {
        0 if shared => {
            story.step(|machine, actions| machine.retire(&route, slot, None, actions));
            story.back(route, slot);
        }
        1 if shared => {
            // It dies beneath all who share it.
            story.step(|machine, actions| machine.closed(slot, actions));
            story.closing.retain(|closing| *closing != slot);
            held.retain(|(_, other)| *other != slot);
            story.back(route, slot);
        }
        0 => story.step(|machine, actions| machine.discard(slot, slot, actions)),
        _ => story.back(route, slot),
    }
}

/// What is being opened is there, or is not to be had.
fn come(story: &mut Story, dice: &mut Dice, waiting: &mut HashMap<u32, (Key, WaiterId)>) {
    let front = story.opened.front().map(|(route, ..)| *route);
    if front.is_some_and(|route| route.0 >= SHARING) && dice.roll(3) > 0 {
        let (route, capacity) = (front.unwrap(), 1 + dice.roll(3));
        let slot = story.connect_shared(1);
        story.step(|machine, actions| machine.set_capacity(&route, slot, capacity, actions));
    } else if let Some((route, slot, _)) = story.opened.pop_front() {
        if dice.roll(4) == 0 {
            if let Some(waiter) = story.step(|machine, actions| machine.failed(&route, Instant::now(), actions)) {
                waiting.remove(&waiter);
            }
            story.step(|machine, actions| machine.closed(slot, actions));
        } else {
            let expires = story.now + Duration::from_secs(15);
            story.step(|machine, actions| machine.connected(&route, slot, slot, expires, actions));
        }
    }
}

fn check(story: &Story, held: &[(Key, SlotId)], total: usize, per_host: usize, swaps: bool) {
    let Counts { open, idle, waiting, .. } = story.machine.counts();
    // After a limit was lowered, what is on its way out counts no more.
    assert!(open <= total || story.machine.lowered || (swaps && open - story.closing.len() <= total));
    for host in [0, 1, 2, SHARING, SHARING + 1] {
        let open = story.machine.books.of(&Kind::Host(host)).open;
        assert!(per_host == 0 || open <= per_host);
        let exchanges = held.iter().filter(|(route, _)| route.0 == host).count();
        assert!(exchanges <= open, "every exchange takes a place");
    }
    let (open_to_proxy, per_proxy) = (story.machine.books.of(&Kind::Proxy).open, story.machine.limits.per_proxy);
    assert!(per_proxy == 0 || open_to_proxy <= per_proxy);
    let known: HashSet<_> = held.iter().map(|(_, slot)| *slot).chain(story.closing.iter().copied()).collect();
    assert_eq!(open, known.len() + idle + story.opened.len());
    assert_eq!(waiting, story.machine.lanes.values().map(|lane| lane.waiters.len()).sum::<usize>());
}

/// Once everything that is under way has ended and been given back, everybody has been served.
fn settle(story: &mut Story, mut held: Vec<(Key, SlotId)>, mut waiting: HashMap<u32, (Key, WaiterId)>) {
    for _ in 0..10_000 {
        story.close();
        story.connect();
        while let Some((waiter, slot)) = story.handed.pop_front() {
            let (route, _) = waiting.remove(&waiter).expect("only who waits is served");
            held.push((route, slot));
        }
        // Who waits for a place on what is full may wait for one that nobody will give back.
        story.now += Duration::from_secs(1);
        let waits: Vec<_> = waiting.values().copied().collect();
        for (route, id) in waits {
            let now = story.now;
            story.step(|machine, actions| machine.press(&route, id, now, actions));
        }
        match held.pop() {
            Some((route, slot)) => story.back(route, slot),
            None if story.closing.is_empty() && story.opened.is_empty() => break,
            None => {}
        }
    }
    story.close();
    assert!(waiting.is_empty(), "left waiting: {waiting:?}");
    assert_eq!(story.machine.counts().waiting, 0);
}

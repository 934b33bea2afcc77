//! A network that fails between nodes that run: whoever is cut off, the majority serves, nobody
//! answers from the past, and when it is over all nodes serve again.
//!
//! The short form of these tests cuts off one node; the full form has all faults.

use std::time::{Duration, Instant};

use quorate_e2e::cluster::Cluster;
use quorate_e2e::kv::Kv;
use quorate_e2e::process::Signal;
use quorate_e2e::proxy::Fault;
use quorate_e2e::{is_full, note, turn, wait};

use crate::witness::Witness;

/// Calls that are answered between two faults.
const CALLS: usize = 200;
/// Bytes for one bit that is wrong.
const FLIP_EVERY: usize = 8 * 1024;
/// How long one question for the leader may take.
const ASKED_MAX: Duration = Duration::from_millis(500);

/// What becomes of the connections between one node and the others.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// They break, and new ones too.
    Broken,
    /// Both sides believe in connections that carry nothing.
    BlackHole,
    /// Nobody hears the node, which hears them.
    Unheard,
    /// The node hears nobody, and they hear it.
    Deaf,
    /// All that is said waits, and arrives at once when it is over.
    Held,
}

const CUTS: [Cut; 5] = [Cut::Broken, Cut::BlackHole, Cut::Unheard, Cut::Deaf, Cut::Held];

impl Cut {
    fn apply(self, cluster: &Cluster, node: u64) {
        let network = cluster.network();
        let others = cluster.others(node);
        match self {
            Self::Broken => network.partition(&[node], &others),
            Self::BlackHole => network.between(&[node], &others, Fault::BLACK_HOLE),
            Self::Unheard => others.iter().for_each(|other| network.one_way(*other, node)),
            Self::Deaf => others.iter().for_each(|other| network.one_way(node, *other)),
            Self::Held => network.between(&[node], &others, Fault::HOLD),
        }
    }

    /// Checks that the network has done so, lest a test passes for want of a fault.
    fn was_felt(self, cluster: &Cluster, node: u64) {
        let done = cluster.network().done(node);
        let felt = match self {
            Self::Broken => done.reset,
            Self::BlackHole | Self::Unheard | Self::Deaf => done.swallowed,
            Self::Held => done.held,
        };
        assert!(felt > 0, "{self:?}: {done:?}");
    }
}

/// Waits until a node says that another than `old` leads.
async fn another_leads(kv: &Kv, old: u64) -> u64 {
    wait::eventually("another leader", wait::LONG, async || {
        // What was handed to the old one may have to wait for an answer that does not come.
        match tokio::time::timeout(ASKED_MAX, kv.leader()).await {
            Ok(leader) if leader != old => Ok(leader),
            Ok(_) => Err(format!("node {old} leads")),
            Err(late) => Err(late.to_string()),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_is_replaced_and_follows_when_it_is_back() {
    let _turn = turn().await;
    let cluster = Cluster::behind_proxies(3);
    let witness = Witness::start(&cluster);
    // Whoever had called this leader mostly waits for 5 s: all of it takes some 25 s.
    let cuts = if is_full() { &CUTS[..] } else { &[Cut::Broken, Cut::Deaf] };
    for cut in cuts {
        witness.goes_on(CALLS).await;
        let begun = Instant::now();
        let leader = cluster.kv(1).leader().await;
        cut.apply(&cluster, leader);
        let next = another_leads(&cluster.kv(cluster.others(leader)[0]), leader).await;
        let replaced = begun.elapsed();
        witness.goes_on(CALLS).await;
        cut.was_felt(&cluster, leader);
        cluster.network().heal();
        witness.all_serve(&cluster).await;
        note(format_args!(
            "{cut:?}: node {leader}, then {next} after {replaced:?}; all of it {:?}",
            begun.elapsed()
        ));
    }
    witness.testify(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_cut_off_disturbs_nobody_and_catches_up_when_it_is_back() {
    let _turn = turn().await;
    let cluster = Cluster::behind_proxies(3);
    let witness = Witness::start(&cluster);
    for cut in CUTS {
        witness.goes_on(CALLS).await;
        let begun = Instant::now();
        let leader = cluster.kv(1).leader().await;
        let [follower, other] = cluster.others(leader)[..] else { unreachable!("three nodes") };
        let health = crate::standards::Health::at(cluster.address(follower));
        cut.apply(&cluster, follower);
        if !matches!(cut, Cut::Unheard) {
            // Long enough to stand for election again and again.
            let lost = async || health.serves("", false).await;
            wait::eventually("no leader", wait::LONG, lost).await;
        }
        witness.goes_on(CALLS).await;
        cut.was_felt(&cluster, follower);
        assert_eq!(cluster.kv(other).leader().await, leader, "{cut:?}");
        cluster.network().heal();
        witness.all_serve(&cluster).await;
        assert_eq!(cluster.kv(other).leader().await, leader, "{cut:?} was deposed by its return");
        note(format_args!("{cut:?}: follower {follower}: {:?}", begun.elapsed()));
    }
    witness.testify(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_reach_each_other_by_one_alone_or_slowly_serve_on() {
    if !is_full() {
        return;
    }
    let _turn = turn().await;
    let cluster = Cluster::behind_proxies(3);
    let witness = Witness::start(&cluster);
    let network = cluster.network();
    for round in 0..2 {
        let begun = Instant::now();
        let leader = cluster.kv(1).leader().await;
        // First the leader reaches one node alone, then it is whom the others are reached by.
        let bridge = if round == 0 { cluster.others(leader)[0] } else { leader };
        network.bridge(bridge);
        witness.goes_on(2 * CALLS).await;
        if round == 0 {
            assert!(network.done(leader).reset > 0, "it was to lose one of its followers");
        }
        network.heal();
        witness.all_serve(&cluster).await;
        note(format_args!("by node {bridge}, of leader {leader}: {:?}", begun.elapsed()));
    }
    let begun = Instant::now();
    network.delay(Duration::from_millis(25));
    witness.all_serve(&cluster).await;
    witness.goes_on(CALLS).await;
    network.heal();
    witness.all_serve(&cluster).await;
    note(format_args!("slowly: {:?}", begun.elapsed()));
    witness.testify(&cluster).await;
}

/// A bit in some thousand bytes, on every connection: the checksum of each message finds it, its
/// connection ends, and what was on it is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn bits_that_flip_between_nodes_end_connections_and_change_nothing() {
    let _turn = turn().await;
    let cluster = Cluster::behind_proxies(3);
    let witness = Witness::start(&cluster);
    witness.goes_on(CALLS).await;
    cluster.network().flip(FLIP_EVERY);
    // However slowly: each of them has to come through.
    for _ in 0..4 {
        witness.goes_on(CALLS / 4).await;
    }
    wait::eventually("a complaint", wait::LONG, async || {
        let damaged = ["closed a peer's stream"];
        let said = |node| damaged.iter().any(|what| !cluster.process(node).logged(what).is_empty());
        if cluster.ids().any(said) { Ok(()) } else { Err("nobody complains".to_owned()) }
    })
    .await;
    let flipped: u64 = cluster.ids().map(|node| cluster.network().done(node).flipped).sum();
    note(format_args!("{flipped} bits were flipped"));
    assert!(flipped > 10, "{flipped}");
    cluster.network().heal();
    witness.all_serve(&cluster).await;
    for node in cluster.ids() {
        assert!(cluster.process(node).logged("quarantine").is_empty(), "a wrong bit was believed");
    }
    witness.testify(&cluster).await;
}

/// Nodes notice by themselves, some 15 s later, that a connection is a black hole.
#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_that_lasts_is_noticed_and_each_call_has_its_end_meanwhile() {
    if !is_full() {
        return;
    }
    let _turn = turn().await;
    let cluster = Cluster::behind_proxies(3);
    let witness = Witness::start(&cluster);
    witness.goes_on(CALLS).await;
    let leader = cluster.kv(1).leader().await;
    Cut::BlackHole.apply(&cluster, leader);
    another_leads(&cluster.kv(cluster.others(leader)[0]), leader).await;
    cluster.process(leader).logs(&["WARN", "cannot reach a peer"]);
    witness.goes_on(CALLS).await;
    cluster.network().heal();
    witness.all_serve(&cluster).await;
    witness.testify(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_paused_while_the_network_is_cut_do_not_answer_from_the_past() {
    if !is_full() {
        return;
    }
    let _turn = turn().await;
    let cluster = Cluster::behind_proxies(3);
    let witness = Witness::start(&cluster);
    let network = cluster.network();
    witness.goes_on(CALLS).await;

    // A leader that is cut off, and paused while another takes its place; once it hears of that
    // as soon as it goes on, and once it does not.
    for is_healed_first in [true, false] {
        let leader = cluster.kv(1).leader().await;
        network.partition(&[leader], &cluster.others(leader));
        cluster.process(leader).signal(Signal::Stop);
        another_leads(&cluster.kv(cluster.others(leader)[0]), leader).await;
        witness.goes_on(CALLS).await;
        if is_healed_first {
            network.heal();
        }
        cluster.process(leader).signal(Signal::Continue);
        witness.goes_on(CALLS).await;
        network.heal();
        witness.all_serve(&cluster).await;
    }

    // A follower is cut off, and is the first to run again when the others were paused: it must
    // not take what they say then for the present.
    let leader = cluster.kv(1).leader().await;
    let [follower, other] = cluster.others(leader)[..] else { unreachable!("three nodes") };
    network.between(&[follower], &[leader, other], Fault::HOLD);
    witness.goes_on(CALLS).await;
    cluster.process(other).signal(Signal::Stop);
    let health = crate::standards::Health::at(cluster.address(leader));
    let lost = async || health.serves("", false).await;
    wait::eventually("no leader", wait::LONG, lost).await;
    cluster.process(leader).signal(Signal::Stop);
    network.heal();
    cluster.process(other).signal(Signal::Continue);
    another_leads(&cluster.kv(other), leader).await;
    cluster.process(leader).signal(Signal::Continue);
    witness.all_serve(&cluster).await;

    // All of them at once, for a moment.
    for _ in 0..3 {
        witness.goes_on(CALLS).await;
        cluster.ids().for_each(|node| cluster.process(node).signal(Signal::Stop));
        cluster.ids().for_each(|node| cluster.process(node).signal(Signal::Continue));
    }
    witness.all_serve(&cluster).await;
    witness.testify(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_restarts_as_a_whole_while_it_is_cut_serves_by_its_majority() {
    if !is_full() {
        return;
    }
    let _turn = turn().await;
    let mut cluster = Cluster::behind_proxies(3);
    let witness = Witness::start(&cluster);
    for alone in cluster.ids() {
        let begun = Instant::now();
        witness.goes_on(CALLS).await;
        // The last one is back at once: what it missed, this majority has not in common.
        cluster.network().heal();
        cluster.network().partition(&[alone], &cluster.others(alone));
        cluster.kill_all();
        cluster.start_all();
        let leader = cluster.kv(cluster.others(alone)[0]).leader().await;
        assert_ne!(leader, alone);
        witness.goes_on(CALLS).await;
        note(format_args!("without node {alone}: {:?}", begun.elapsed()));
    }
    cluster.kill_all();
    cluster.network().heal();
    cluster.start_all();
    witness.all_serve(&cluster).await;
    witness.testify(&cluster).await;
}

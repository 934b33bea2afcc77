//! Folders and peers that fit, and those that do not.

use super::*;

fn claim_first(folder: &Path, identity: &Identity, log: LogKind) -> anyhow::Result<Claim> {
    claim(folder, identity, log, &Birth::default(), &BTreeMap::new())
}

fn identity(cluster: &str, node: u32) -> Identity {
    Identity {
        cluster: cluster.to_owned(),
        node: NodeId::new(node).unwrap(),
        founders: (1..=3).map(|node| NodeId::new(node).unwrap()).collect(),
        module: [7; 32],
        timing: Timing::default(),
    }
}

#[test]
fn a_folder_stays_with_its_node_and_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let claim = |identity: &Identity, log| {
        let claim = claim_first(folder.path(), identity, log);
        claim.map(|claim| claim.member).map_err(|error| error.to_string())
    };
    let own = identity("a", 1);
    assert_eq!(claim(&own, LogKind::RocksDb), Ok(RaftId::new(own.node, 0)));
    assert_eq!(claim(&own, LogKind::RocksDb), Ok(RaftId::new(own.node, 0)));
    let of = |result: Result<RaftId, String>| result.unwrap_err();
    assert!(of(claim(&identity("b", 1), LogKind::RocksDb)).contains("cluster \"a\""));
    assert!(of(claim(&identity("a", 2), LogKind::RocksDb)).contains("belongs to node 1"));
    assert!(of(claim(&own, LogKind::Memory)).contains("another kind of log"));
    fs::rename(folder.path().join(LOG_FOLDER), folder.path().join("elsewhere")).unwrap();
    assert!(of(claim(&own, LogKind::RocksDb)).contains("is gone"));
    fs::rename(folder.path().join("elsewhere"), folder.path().join(LOG_FOLDER)).unwrap();
    let mut other_module = own.clone();
    other_module.module = [8; 32];
    assert!(of(claim(&other_module, LogKind::RocksDb)).contains("replacing a module"));
    let mut smaller = own.clone();
    smaller.founders.pop();
    assert!(of(claim(&smaller, LogKind::RocksDb)).contains("began with nodes"));
    fs::write(folder.path().join(FILE), "nonsense").unwrap();
    assert!(of(claim(&own, LogKind::RocksDb)).contains("is damaged"));
}

#[test]
fn a_node_whose_log_was_in_memory_is_another_member_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity("a", 2);
    let incarnations: Vec<_> = (0..3)
        .map(|_| claim_first(folder.path(), &own, LogKind::Memory).unwrap().member.incarnation())
        .collect();
    assert_eq!(incarnations, [0, 1, 2]);
}

#[test]
fn a_folder_has_a_number_of_its_own_for_as_long_as_it_is_there() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let own = identity("a", 1);
    let store = |folder: &Path| claim_first(folder, &own, LogKind::RocksDb).unwrap().store;
    let first = store(one.path());
    assert_eq!(store(one.path()), first);
    assert_ne!(store(other.path()), first);
    let memory = remember(one.path()).unwrap().unwrap();
    assert_eq!(memory.founders, own.founders);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(remember(empty.path()).unwrap(), None);
}

#[test]
fn a_folder_is_claimed_by_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity("a", 1);
    let claim = || claim_first(folder.path(), &own, LogKind::Memory);
    let first = claim().unwrap();
    assert!(claim().unwrap_err().to_string().contains("another process"));
    drop(first);
    assert_eq!(claim().unwrap().member.incarnation(), 1, "who was refused changed nothing");
}

#[test]
fn peers_that_disagree_are_told_about_what() {
    let own = identity("a", 1);
    let other = identity("a", 2);
    assert_eq!(own.check(&other.hello(own.node)), Ok(()));
    let refused = |hello| own.check(&hello).unwrap_err();
    assert!(refused(identity("b", 2).hello(own.node)).contains("cluster \"b\""));
    assert!(refused(other.hello(NodeId::new(3).unwrap())).contains("looks for node 3"));
    let mut hello = other.hello(own.node);
    hello.founders.pop();
    assert!(refused(hello).contains("began with"));
    let mut hello = other.hello(own.node);
    hello.module = vec![8; 32].into();
    assert!(refused(hello).contains("another module"));
    let mut hello = other.hello(own.node);
    hello.fuel += 1;
    assert!(refused(hello).contains("its costs"));
    let mut hello = other.hello(own.node);
    hello.has_leases = true;
    assert!(refused(hello).contains("--lease-reads"));
    let mut hello = other.hello(own.node);
    hello.election_ms *= 2;
    assert!(refused(hello).contains("time out after 2000 ms"));
}

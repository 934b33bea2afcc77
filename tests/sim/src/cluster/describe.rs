//! What travels between nodes, in words.

/// A raft message for a person.
pub(super) fn message(message: &[u8]) -> String {
    use protobuf::Message as _;
    let Ok(message) = raft::eraftpb::Message::parse_from_bytes(message) else {
        return "no raft message".to_owned();
    };
    let kind = format!("{:?}", message.get_msg_type());
    let kind = kind.strip_prefix("Msg").unwrap_or(&kind);
    let mut parts = vec![format!("{kind} term {} index {}", message.term, message.index)];
    if message.log_term > 0 {
        parts.push(format!("of term {}", message.log_term));
    }
    if !message.get_entries().is_empty() {
        parts.push(format!("entries {}", message.get_entries().len()));
    }
    if message.commit > 0 {
        parts.push(format!("commit {}", message.commit));
    }
    if message.reject {
        parts.push("refused".to_owned());
    }
    parts.join(" ")
}

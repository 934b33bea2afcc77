//! How a query wants to be read: the metadata `quorate-read` of a call.
//!
//! It says how to read, so a command ignores it: a client may set it on all of its calls.

use tonic::Status;
use tonic::metadata::MetadataMap;

/// The key of the metadata.
pub const READ_KEY: &str = "quorate-read";

/// What a query may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// All that was decided before the query came: a majority is asked who leads.
    #[default]
    Linearizable,
    /// The same, by the leader's lease: nobody is asked while it lasts. It trusts clocks.
    Lease,
    /// What this node has applied, however old. The reply's index says which state it saw.
    Stale,
}

impl Consistency {
    const ALL: [(&'static str, Self); 3] =
        [("linearizable", Self::Linearizable), ("lease", Self::Lease), ("stale", Self::Stale)];

    /// What a call asks for.
    pub fn of(metadata: &MetadataMap) -> Result<Self, Status> {
        let Some(asked) = metadata.get(READ_KEY) else { return Ok(Self::default()) };
        let found = Self::ALL.iter().find(|(name, _)| asked.as_bytes() == name.as_bytes());
        found.map(|(_, consistency)| *consistency).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name).join(", ");
            Status::invalid_argument(format!(
                "the metadata {READ_KEY} is \"{}\"; there are {names}",
                asked.as_bytes().escape_ascii()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_name_and_others_are_refused_with_a_list() {
        let of = |value: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert(READ_KEY, value.parse().unwrap());
            Consistency::of(&metadata).map_err(|status| status.message().to_owned())
        };
        assert_eq!(Consistency::of(&MetadataMap::new()).unwrap(), Consistency::Linearizable);
        assert_eq!(of("linearizable"), Ok(Consistency::Linearizable));
        assert_eq!(of("lease"), Ok(Consistency::Lease));
        assert_eq!(of("stale"), Ok(Consistency::Stale));
        for wrong in ["", "Stale", "stale ", "fresh"] {
            let problem = of(wrong).unwrap_err();
            assert!(problem.contains(wrong), "{problem}");
            assert!(problem.contains("linearizable, lease, stale"), "{problem}");
        }
    }
}

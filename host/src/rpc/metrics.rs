//! `GET /metrics`: how this node fares, as Prometheus' text format has it (version 0.0.4), over
//! HTTP/1.1 or HTTP/2, on the port of the clients.
//!
//! The format is few lines, and all figures are counted elsewhere, so no library of counters
//! stands between. What this deliberately does not have: other nodes' figures.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use quorate_proto::v1::{NodeStatus, Role};

use crate::report::Reporter;
use crate::stages::{Stage, Stages, Times};

/// Where they are.
pub const PATH: &str = "/metrics";
const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Upper bounds of buckets, in microseconds.
const BOUNDS_US: [u64; 17] = [
    20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000,
];

/// What is told.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// How this node fares.
    pub reporter: Reporter,
    /// Where the time of commands goes.
    pub stages: Arc<Stages>,
}

impl Metrics {
    /// As a route for a server.
    pub fn into_route(self) -> Router {
        let answer = async move || ([(CONTENT_TYPE, TYPE)], self.text());
        Router::new().route(PATH, get(answer))
    }

    fn text(&self) -> String {
        let mut text = of_node(&self.reporter.roster.identity.cluster, &self.reporter.own());
        text.push_str(
            "# HELP quorate_stage_seconds How long commands that this node decided as the leader \
             were in a stage.\n# TYPE quorate_stage_seconds histogram\n",
        );
        for (stage, times) in self.stages.all() {
            of_stage(stage, &times, &mut text);
        }
        text
    }
}

fn of_node(cluster: &str, node: &NodeStatus) -> String {
    let NodeStatus { id, version, .. } = node;
    let cluster = cluster.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
    let is = u64::from;
    let mut text = String::new();
    let mut tell = |name: &str, kind: &str, help: &str, labels: &str, value: u64| {
        let lines = format!(
            "# HELP quorate_{name} {help}\n# TYPE quorate_{name} {kind}\nquorate_{name}{labels} \
             {value}\n"
        );
        text.push_str(&lines);
    };
    let labels = format!(r#"{{cluster="{cluster}",node="{id}",version="{version}"}}"#);
    tell("info", "gauge", "Which node this is.", &labels, 1);
    let gauges = [
        ("healthy", is(node.health == "ok"), "Whether the node can do all of its work."),
        ("is_leader", is(node.role() == Role::Leader), "Whether the node leads."),
        ("has_leader", is(node.leader != 0), "Whether the node knows a leader."),
        ("term", node.term, "The term of the group, as the node knows it."),
        ("log_first_index", node.log_first, "The first entry that the node's log still holds."),
        ("log_last_index", node.last, "The last entry of the node's log."),
        ("log_bytes", node.log_bytes, "The size of the node's log."),
        ("committed_index", node.committed, "The last entry that the node knows to be committed."),
        ("applied_index", node.applied, "The last entry that is in the node's state."),
    ];
    for (name, value, help) in gauges {
        tell(name, "gauge", help, "", value);
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "bounds have few digits, counts are below 2^52")]
fn of_stage(stage: Stage, times: &Times, text: &mut String) {
    let (name, all) = (stage.name(), times.len());
    let mut bucket = |bound: &str, commands: u64| {
        writeln!(text, r#"quorate_stage_seconds_bucket{{stage="{name}",le="{bound}"}} {commands}"#)
    };
    let buckets = BOUNDS_US.map(|bound_us| {
        let commands = if all == 0 { 0 } else { times.count_between(0, bound_us * 1000) };
        bucket(&(bound_us as f64 / 1e6).to_string(), commands)
    });
    let written = buckets.into_iter().collect::<Result<(), _>>();
    let seconds = if all == 0 { 0.0 } else { times.mean() * all as f64 / 1e9 };
    let written = written.and_then(|()| bucket("+Inf", all)).and_then(|()| {
        writeln!(text, r#"quorate_stage_seconds_sum{{stage="{name}"}} {seconds}"#)?;
        writeln!(text, r#"quorate_stage_seconds_count{{stage="{name}"}} {all}"#)
    });
    written.expect("a string takes all");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages;

    #[test]
    fn a_name_of_any_characters_is_a_label() {
        let text = of_node("a \"b\\c\nd", &NodeStatus { id: 7, ..NodeStatus::default() });
        let line = r#"quorate_info{cluster="a \"b\\c\nd",node="7",version=""} 1"#;
        assert!(text.lines().any(|found| found == line), "{text}");
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_all() {
        let mut times = stages::times();
        for micros in [10, 30, 30, 700, 9_000_000] {
            times.record(micros * 1000).unwrap();
        }
        let mut text = String::new();
        of_stage(Stage::Queued, &times, &mut text);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), BOUNDS_US.len() + 3);
        for line in [
            r#"quorate_stage_seconds_bucket{stage="queued",le="0.00002"} 1"#,
            r#"quorate_stage_seconds_bucket{stage="queued",le="0.00005"} 3"#,
            r#"quorate_stage_seconds_bucket{stage="queued",le="0.0005"} 3"#,
            r#"quorate_stage_seconds_bucket{stage="queued",le="0.001"} 4"#,
            r#"quorate_stage_seconds_bucket{stage="queued",le="5"} 4"#,
            r#"quorate_stage_seconds_bucket{stage="queued",le="+Inf"} 5"#,
            r#"quorate_stage_seconds_count{stage="queued"} 5"#,
        ] {
            assert!(lines.contains(&line), "{line} is not in\n{text}");
        }
        let sum = lines[lines.len() - 2].rsplit_once(' ').unwrap().1;
        assert!((sum.parse::<f64>().unwrap() - 9.00077).abs() < 0.1, "{sum}");
    }
}

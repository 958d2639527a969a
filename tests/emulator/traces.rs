//! One order's trace, from the request to the mail, as a collector receives it.

use super::{
    collector::{Collector, text},
    order::{self, BOOK_CENTS, line},
    shop::Shop,
};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::{Duration, Instant},
};

/// The page that shows the tree.
const PAGE: &str = include_str!("../../docs/traces.md");

/// Spans are exported when their invocation ends, a moment after its effects are seen.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) async fn check(shop: &Shop, collector: &Collector) {
    shop.stock("map", 10).await;
    let before: BTreeSet<Vec<u8>> = collector
        .spans()
        .into_iter()
        .map(|(_, span)| span.trace_id)
        .collect();
    let request = order::request("trace-1", "eve", &[line("map", 2, BOOK_CENTS)]);
    let reply = shop.place(&request).await.unwrap();
    let id = reply["order_id"].as_str().unwrap();

    // The page's tree names everything that has to arrive.
    let expected = PAGE.split("```text\n").nth(1).unwrap();
    let expected = expected.split("```").next().unwrap();
    let started = Instant::now();
    let trace = loop {
        let all = collector.spans();
        let root = all.iter().find(|(function, span)| {
            function.ends_with("place-order")
                && span.kind() == SpanKind::Server
                && !before.contains(&span.trace_id)
        });
        let trace = root.map(|(_, root)| Trace::of(&all, &root.trace_id));
        let tree = trace.as_ref().map(Trace::tree).unwrap_or_default();
        if tree == expected {
            break trace.unwrap();
        }
        assert!(
            started.elapsed() < PATIENCE,
            "order {id}, expected:\n{expected}\nfound:\n{tree}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    trace.check_links(&collector.spans());
}

struct Trace(Vec<(String, Span)>);

impl Trace {
    fn of(all: &[(String, Span)], id: &[u8]) -> Self {
        let spans = all.iter().filter(|(_, span)| span.trace_id == id);
        Self(spans.cloned().collect())
    }

    /// The spans by what caused them, those of one cause by their names.
    fn tree(&self) -> String {
        let ids: BTreeSet<&[u8]> = self.0.iter().map(|(_, span)| &*span.span_id).collect();
        let mut children = BTreeMap::<&[u8], Vec<&(String, Span)>>::new();
        for entry in &self.0 {
            let parent = &*entry.1.parent_span_id;
            // A span whose parent is not in the trace is a root: the caller's own span is not
            // collected.
            let parent = if ids.contains(parent) { parent } else { &[] };
            children.entry(parent).or_default().push(entry);
        }
        let mut tree = String::new();
        write_below(&mut tree, &children, &[], 0);
        tree
    }

    /// Every record of a queue, bus or table is linked to its batch, and the batch to it.
    fn check_links(&self, all: &[(String, Span)]) {
        let by_id: BTreeMap<&[u8], &Span> =
            all.iter().map(|(_, span)| (&*span.span_id, span)).collect();
        let mut records = 0;
        for (_, record) in &self.0 {
            if record.kind() != SpanKind::Consumer {
                continue;
            }
            records += 1;
            let [link] = &record.links[..] else {
                panic!("{} has {} links", record.name, record.links.len());
            };
            let batch = by_id[&*link.span_id];
            let queue = record.name.strip_prefix("process ").unwrap();
            assert_eq!(batch.name, format!("batch {queue}"));
            assert_ne!(batch.trace_id, record.trace_id);
            let creations: Vec<_> = batch.links.iter().map(|link| &link.span_id).collect();
            assert!(creations.contains(&&record.parent_span_id));
            let invocation = by_id[&*batch.parent_span_id];
            assert_eq!(invocation.kind(), SpanKind::Server);
            if record.name.ends_with(".fifo") {
                assert_eq!(
                    text(&record.attributes, "messaging.system"),
                    Some("aws_sqs")
                );
            }
        }
        assert!(records >= 4, "{records} records");
    }
}

fn write_below(
    tree: &mut String,
    children: &BTreeMap<&[u8], Vec<&(String, Span)>>,
    parent: &[u8],
    depth: usize,
) {
    let mut below = children.get(parent).cloned().unwrap_or_default();
    below.sort_by_key(|(function, span)| (span.name.clone(), function.clone()));
    for (function, span) in below {
        let kind = format!("{:?}", span.kind()).to_lowercase();
        let line = format!("{:indent$}{}", "", span.name, indent = 2 * depth);
        writeln!(tree, "{line:<42} {kind:<8} {function}").unwrap();
        write_below(tree, children, &span.span_id, depth + 1);
    }
}

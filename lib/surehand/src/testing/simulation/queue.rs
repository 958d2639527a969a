//! The queue: what SQS does with messages.

use super::fault::Fault;
use crate::{IdempotencyKey, dead_letter::FailureNote};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// An SQS queue with its event source mapping.
#[derive(Clone, Debug)]
pub struct Queue {
    pub(super) name: String,
    pub(super) is_fifo: bool,
    pub(super) max_receive_count: u32,
    pub(super) visibility: Option<Duration>,
    pub(super) batch_size: usize,
    pub(super) concurrency: usize,
    pub(super) fills_batches: bool,
}

impl Queue {
    /// Makes a standard queue, which delivers in any order and may deliver twice. A message is
    /// received up to 5 times, up to 10 messages are in a batch, and up to 3 invocations are
    /// concurrent.
    pub fn standard(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            is_fifo: false,
            max_receive_count: 5,
            visibility: None,
            batch_size: 10,
            concurrency: 3,
            fills_batches: false,
        }
    }

    /// Makes a FIFO queue: it delivers a group's messages in order, and none while an earlier one
    /// is in flight. An event's partition key is its group.
    pub fn fifo(name: impl Into<String>) -> Self {
        Self {
            is_fifo: true,
            ..Self::standard(name)
        }
    }

    /// Sets how often a message is received before SQS moves it to the dead-letter queue.
    pub fn max_receive_count(mut self, count: u32) -> Self {
        self.max_receive_count = count;
        self
    }

    /// Sets how long a received message is hidden; six times the function's timeout unless set, as
    /// AWS recommends.
    pub fn visibility_timeout(mut self, time: Duration) -> Self {
        self.visibility = Some(time);
        self
    }

    /// Sets how many messages a batch has at most.
    pub fn batch_size(mut self, messages: usize) -> Self {
        self.batch_size = messages.max(1);
        self
    }

    /// Has each batch take as many messages as there are and it may have; else a random number of them.
    pub fn full_batches(mut self) -> Self {
        self.fills_batches = true;
        self
    }

    /// Sets how many invocations are concurrent.
    pub fn concurrency(mut self, invocations: usize) -> Self {
        self.concurrency = invocations.max(1);
        self
    }
}

/// A message and its state.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) id: String,
    /// None if its body is not an event.
    pub(super) event_id: Option<String>,
    /// The key of its event, unless a function reads another one.
    pub(super) key: Option<IdempotencyKey>,
    pub(super) body: String,
    pub(super) group: String,
    /// The event's partition key.
    pub(super) partition: Option<String>,
    /// When it is sent to the queue, in virtual time.
    pub(super) sent_at: Duration,
    /// Until when it is hidden.
    pub(super) visible_at: Duration,
    pub(super) receives: u32,
    /// Whether it was deleted by an acknowledgement, or moved by the redrive policy.
    pub(super) is_gone: bool,
    pub(super) was_acked: bool,
    /// The invocation that received it last.
    pub(super) last_invocation: Option<usize>,
    /// Whether it was redriven after the faults had ended.
    pub(super) is_redriven: bool,
}

impl Message {
    fn is_in_flight(&self, now: Duration) -> bool {
        !self.is_gone && self.receives > 0 && self.visible_at > now
    }

    fn is_visible(&self, now: Duration) -> bool {
        !self.is_gone && self.sent_at <= now && self.visible_at <= now
    }

    /// Returns the lane within which it is in order in a batch.
    pub(super) fn lane(&self, queue: &Queue) -> Option<&str> {
        if queue.is_fifo {
            Some(&self.group)
        } else {
            self.partition.as_deref()
        }
    }

    pub(super) fn receipt(&self) -> String {
        format!("{}/{}", self.id, self.receives)
    }

    /// Writes it as the event source mapping delivers it.
    pub(super) fn to_json(&self, queue: &Queue, start_ms: u64) -> Value {
        let sent_at = start_ms + u64::try_from(self.sent_at.as_millis()).unwrap_or_default();
        let mut attributes = json!({
            "ApproximateReceiveCount": self.receives.to_string(),
            "SentTimestamp": sent_at.to_string(),
        });
        if queue.is_fifo {
            attributes["MessageGroupId"] = self.group.as_str().into();
            attributes["MessageDeduplicationId"] = self.id.as_str().into();
        }
        // As whoever puts a message back marks it.
        let message_attributes = match self.is_redriven {
            true => json!({
                (FailureNote::REDRIVE_COUNT): {"dataType": "Number", "stringValue": "1"}
            }),
            false => json!({}),
        };
        json!({
            "messageId": self.id,
            "receiptHandle": self.receipt(),
            "body": self.body,
            "attributes": attributes,
            "messageAttributes": message_attributes,
            "eventSource": "aws:sqs",
            "eventSourceARN": format!("arn:aws:sqs:eu-central-1:123456789012:{}", queue.name),
            "awsRegion": "eu-central-1",
        })
    }
}

/// The result of polling the queue.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// The places of the messages, in the order of their delivery.
    pub(super) messages: Vec<usize>,
    /// The places of the messages that the redrive policy moved instead.
    pub(super) moved: Vec<usize>,
}

/// All messages that have ever been in the queue, in the order in which they were sent.
#[derive(Debug)]
pub(super) struct Messages {
    pub(super) queue: Queue,
    pub(super) visibility: Duration,
    pub(super) all: Vec<Message>,
}

impl Messages {
    pub(super) fn receive(
        &mut self,
        now: Duration,
        rng: &mut fastrand::Rng,
        mut is_met: impl FnMut(Fault, &mut fastrand::Rng) -> bool,
    ) -> Received {
        let limit = match self.queue.fills_batches {
            true => self.queue.batch_size,
            false => rng.usize(1..=self.queue.batch_size),
        };
        let candidates = if self.queue.is_fifo {
            self.in_group_order(now, rng)
        } else {
            let mut visible: Vec<usize> = self.visible(now).collect();
            if !visible.is_empty() && is_met(Fault::Duplicate, rng) {
                let again: Vec<usize> = (0..self.all.len())
                    .filter(|&place| self.all[place].receives > 0 && !visible.contains(&place))
                    .filter(|&place| self.all[place].was_acked || !self.all[place].is_gone)
                    .collect();
                if !again.is_empty() {
                    visible.push(again[rng.usize(..again.len())]);
                }
            }
            rng.shuffle(&mut visible);
            visible
        };
        let mut received = Received::default();
        for place in candidates {
            if received.messages.len() == limit {
                break;
            }
            let message = &mut self.all[place];
            message.receives += 1;
            if message.receives > self.queue.max_receive_count {
                message.is_gone = true;
                received.moved.push(place);
                continue;
            }
            message.is_gone = false;
            message.visible_at = now + self.visibility;
            received.messages.push(place);
        }
        received
    }

    fn visible(&self, now: Duration) -> impl Iterator<Item = usize> + '_ {
        (0..self.all.len()).filter(move |&place| self.all[place].is_visible(now))
    }

    /// Returns the heads of all groups of which no message is in flight, group after group.
    fn in_group_order(&self, now: Duration, rng: &mut fastrand::Rng) -> Vec<usize> {
        let blocked: BTreeSet<&str> = self
            .all
            .iter()
            .filter(|message| message.is_in_flight(now))
            .map(|message| message.group.as_str())
            .collect();
        let free: Vec<usize> = self
            .visible(now)
            .filter(|&place| !blocked.contains(self.all[place].group.as_str()))
            .collect();
        let groups: BTreeSet<&str> = free.iter().map(|&p| self.all[p].group.as_str()).collect();
        let mut groups: Vec<&str> = groups.into_iter().collect();
        rng.shuffle(&mut groups);
        let mut candidates = Vec::new();
        for group in groups {
            let of_group = free.iter().filter(|&&p| self.all[p].group == group);
            let of_group: Vec<usize> = of_group.copied().collect();
            let head = rng.usize(1..=of_group.len());
            candidates.extend_from_slice(&of_group[..head]);
        }
        candidates
    }

    /// Deletes a message that was handled. With the receipt handle of an earlier receive, this may
    /// fail on a standard queue and is refused on a FIFO queue.
    pub(super) fn delete(&mut self, place: usize, receipt: &str, rng: &mut fastrand::Rng) {
        let is_fifo = self.queue.is_fifo;
        let message = &mut self.all[place];
        message.was_acked = true;
        if message.receipt() == receipt || (!is_fifo && rng.bool()) {
            message.is_gone = true;
        }
    }

    /// Hides a message for `delay` from now on, if the receipt handle is the latest.
    pub(super) fn hide(&mut self, receipt: &str, now: Duration, delay: Duration) {
        // SQS counts in seconds, up to 12 hours.
        const MAX: u64 = 12 * 60 * 60;
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        let until = now + Duration::from_secs(seconds.min(MAX));
        if let Some(message) = self.all.iter_mut().find(|m| m.receipt() == receipt)
            && !message.is_gone
        {
            message.visible_at = until;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.iter().all(|message| message.is_gone)
    }

    /// Returns when the next message becomes receivable.
    pub(super) fn next_change(&self, now: Duration) -> Option<Duration> {
        let left = self.all.iter().filter(|message| !message.is_gone);
        left.map(|message| message.sent_at.max(message.visible_at))
            .filter(|&at| at > now)
            .min()
    }
}

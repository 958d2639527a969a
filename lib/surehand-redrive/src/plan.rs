//! What is to become of which letter, as a file that can be read, changed and kept.

use crate::{
    destination::{self, Destination},
    group::Selection,
    letter::Letter,
    parcel::{MAX_REDRIVES, Parcel},
    queue::QueueInfo,
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, Visitor},
};
use std::{
    collections::HashMap,
    io::{BufRead, Write},
};
use surehand::{Error, Result};

/// Which letters of a queue are put back, changed, dropped or left.
///
/// As a file it is JSON lines: a [`Header`], then a [`Step`] for each letter. Applying it does what it
/// says and nothing else: a letter that it does not name stays, and so does one whose body is
/// not the one that the plan was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What holds for all of it.
    pub header: Header,
    steps: Vec<Step>,
    by_id: HashMap<String, usize>,
}

/// The first line of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Header {
    /// Names the plan. What is put back twice by one plan is recognised on FIFO queues.
    pub plan: String,
    /// The URL of the dead-letter queue.
    pub queue: String,
    /// The ARN of the dead-letter queue, with its account and its region. A plan that has it is applied
    /// to no other queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_arn: Option<String>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Where everything goes, instead of where each letter came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Destination>,
    /// Where letters may go by what is written on them. What is written there is the sender's word, and
    /// only SQS's own, [`Letter::source_arn`], needs no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destinations: Option<Vec<Destination>>,
    /// Put back also what has come back three times.
    #[serde(default)]
    pub force: bool,
    /// What becomes of letters that the plan does not name. A FIFO queue shows the first ten of a
    /// group at most, so that a plan for all of it cannot name them all.
    #[serde(default)]
    pub unlisted: Unlisted,
    /// Which letters the plan was made for. With [`Unlisted::Redrive`] only these are put back of those
    /// that it does not name.
    #[serde(default, skip_serializing_if = "Selection::is_all")]
    pub selection: Selection,
}

/// What becomes of letters that a plan does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unlisted {
    /// They stay.
    #[default]
    Hold,
    /// They are put back.
    Redrive,
}

/// What is to become of one letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Step {
    /// The letter's message id.
    pub message_id: String,
    /// The SHA-256 of its body, in hex.
    pub sha256: String,
    /// What to do.
    #[serde(flatten)]
    pub action: Action,
    /// The message group that it is sent with, where it has none: dead letters of EventBridge have none, and the rule
    /// says which group its target has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// For people: why a letter is held though it was to go back, or what of it does not
    /// travel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Step {
    /// What is no part of a step is an error: it would not be done.
    fn read(line: &str) -> Result<Self, String> {
        const KNOWN: [&str; 6] = ["message_id", "sha256", "action", "body", "group", "note"];
        let Fields(fields) = serde_json::from_str(line).map_err(|error| error.to_string())?;
        if let Some(name) = fields.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(match name.as_str() {
                "to" => "a step has no `to` of its own: set it in the first line, or write a plan for these messages"
                    .to_owned(),
                _ => format!("a step has no field `{name}`, only {}", KNOWN.join(", ")),
            });
        }
        if fields.contains_key("body") && fields.get("action").is_some_and(|it| it != "edit") {
            return Err("only `edit` takes a `body`".to_owned());
        }
        serde_json::from_value(fields.into()).map_err(|error| error.to_string())
    }
}

/// A step as it is written. A field that is there twice is refused: who reviews a plan sees the first, and the last
/// one would be done.
struct Fields(serde_json::Map<String, serde_json::Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a step")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = serde_json::Map::new();
                while let Some((name, value)) = map.next_entry::<String, serde_json::Value>()? {
                    if fields.contains_key(&name) {
                        return Err(A::Error::custom(format!("the step has `{name}` twice")));
                    }
                    fields.insert(name, value);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

/// What becomes of a letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// It goes back as it was.
    Redrive,
    /// It goes back with another body: see [`edited`](crate::edited).
    Edit {
        /// The new body.
        body: String,
    },
    /// It is deleted. The journal keeps it.
    Drop,
    /// It stays.
    Hold,
}

impl Plan {
    /// A plan for the queue at `queue_url` that does nothing yet.
    pub fn new(queue_url: impl Into<String>) -> Self {
        Self {
            header: Header {
                plan: uuid::Uuid::now_v7().to_string(),
                queue: queue_url.into(),
                queue_arn: None,
                created: jiff::Timestamp::now().to_string(),
                to: None,
                destinations: None,
                force: false,
                unlisted: Unlisted::Hold,
                selection: Selection::default(),
            },
            steps: Vec::new(),
            by_id: HashMap::new(),
        }
    }

    /// Sends everything to `destination`, instead of where each letter came from.
    pub fn to(mut self, destination: Destination) -> Self {
        self.header.to = Some(destination);
        self
    }

    /// Names the queue by its ARN as well, which says in which account and region it is.
    pub fn queue_arn(mut self, arn: impl Into<String>) -> Self {
        self.header.queue_arn = Some(arn.into());
        self
    }

    /// Lets letters go to these destinations, if that is what is written on them. Without this they only
    /// go where SQS moved them from, or all [to](Self::to) one destination.
    pub fn allow(mut self, destinations: impl IntoIterator<Item = Destination>) -> Self {
        self.header.destinations = Some(destinations.into_iter().collect());
        self
    }

    /// Puts back also what has come back three times.
    pub fn force(mut self) -> Self {
        self.header.force = true;
        self
    }

    /// Says what becomes of letters that it does not name.
    pub fn unlisted(mut self, unlisted: Unlisted) -> Self {
        self.header.unlisted = unlisted;
        self
    }

    /// Says which letters it is for, also of those that it does not name.
    pub fn selection(mut self, selection: Selection) -> Self {
        self.header.selection = selection;
        self
    }

    /// Plans for a letter, instead of what was planned for it. What cannot be put back is held, with
    /// the reason in the step's note.
    ///
    /// Where letters may go ([`allow`](Self::allow)) can still be said later: until it is, what is
    /// written on a letter counts here, and not when the plan is applied.
    pub fn add(&mut self, letter: &Letter, action: Action) -> &Step {
        self.add_in_group(letter, action, None)
    }

    /// As [`add`](Self::add), with a message group for a letter that has none.
    pub fn add_in_group(&mut self, letter: &Letter, action: Action, group: Option<&str>) -> &Step {
        let prepared = self.prepare_in_group(letter, &action, group);
        let prepared = prepared.and_then(|prepared| {
            if let (Some((to, _)), Some(_)) = (&prepared, &self.header.destinations) {
                self.check_destination(letter, to)?;
            }
            Ok(prepared)
        });
        let (action, note) = match prepared {
            Err(problem) => (Action::Hold, Some(problem)),
            Ok(Some(_)) if !letter.dropped_attributes.is_empty() => {
                let lost = letter.dropped_attributes.join(", ");
                let note = format!("it goes back without the attributes that hold lists: {lost}");
                (action, Some(note))
            }
            Ok(_) => (action, None),
        };
        let step = Step {
            message_id: letter.id.clone(),
            sha256: letter.digest(),
            action,
            group: group.map(str::to_owned),
            note,
        };
        let index = self.insert(step);
        &self.steps[index]
    }

    /// Holds a letter that the plan names, with the reason for it.
    pub fn hold(&mut self, message_id: &str, reason: impl Into<String>) {
        if let Some(&index) = self.by_id.get(message_id) {
            let step = &mut self.steps[index];
            (step.action, step.note) = (Action::Hold, Some(reason.into()));
        }
    }

    fn insert(&mut self, step: Step) -> usize {
        match self.by_id.get(&step.message_id) {
            Some(&index) => {
                self.steps[index] = step;
                index
            }
            None => {
                let index = self.steps.len();
                self.by_id.insert(step.message_id.clone(), index);
                self.steps.push(step);
                index
            }
        }
    }

    /// The steps, in the order in which they were added.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The step for a message.
    pub fn step(&self, message_id: &str) -> Option<&Step> {
        Some(&self.steps[*self.by_id.get(message_id)?])
    }

    /// Where a letter goes.
    pub fn destination(&self, letter: &Letter) -> Option<Destination> {
        self.header.to.clone().or_else(|| letter.destination())
    }

    /// Whether the plan is for this queue: the same name is in every account and region.
    ///
    /// # Errors
    /// If the plan is for another queue than this one, or does not say which one it is for: without
    /// [the ARN](Header::queue_arn) only a URL at AWS has account and region.
    pub fn check_queue(&self, info: &QueueInfo) -> Result<()> {
        let Header {
            queue, queue_arn, ..
        } = &self.header;
        let (ours, is_this) = match queue_arn {
            Some(arn) => (arn, *arn == info.arn),
            None => match destination::queue_arn(queue, &info.arn) {
                Some(arn) => (queue, arn == info.arn),
                None => {
                    return Err(Error::rejected(format!(
                        "the plan does not say in which account and region its queue {queue} is: write it again, or add \
                         the queue's ARN to its first line as `queue_arn`"
                    )));
                }
            },
        };
        match is_this {
            true => Ok(()),
            false => Err(Error::rejected(format!(
                "the plan is for queue {ours}, and this is {}: use the account and the region that the plan was made in",
                info.arn
            ))),
        }
    }

    /// The letter as it is sent; none where nothing is. The error is why it cannot be, in one line.
    pub(crate) fn prepare(
        &self,
        letter: &Letter,
        action: &Action,
    ) -> Result<Option<(Destination, Parcel)>, String> {
        let step = self.step(&letter.id);
        let group = step.and_then(|step| step.group.as_deref());
        let prepared = self.prepare_in_group(letter, action, group)?;
        if let Some((to, _)) = &prepared {
            self.check_destination(letter, to)?;
        }
        Ok(prepared)
    }

    /// What is written on a letter is its sender's word, and does not steer.
    fn check_destination(&self, letter: &Letter, to: &Destination) -> Result<(), String> {
        let allowed = self.header.destinations.iter().flatten();
        let is_allowed = self.header.to.is_some()
            || letter.source_arn.is_some()
            || allowed.into_iter().any(|it| it.is_same(to));
        match is_allowed {
            true => Ok(()),
            false => Err(format!(
                "only the message itself says that it goes to {to}; the plan needs that among its `destinations`, or `to`"
            )),
        }
    }

    /// As [`prepare`](Self::prepare), wherever it goes.
    fn prepare_in_group(
        &self,
        letter: &Letter,
        action: &Action,
        group: Option<&str>,
    ) -> Result<Option<(Destination, Parcel)>, String> {
        let body = match action {
            Action::Redrive => None,
            Action::Edit { body } => Some(body.as_str()),
            Action::Drop | Action::Hold => return Ok(None),
        };
        let count = letter.redrive_count();
        if count >= MAX_REDRIVES && !self.header.force {
            return Err(format!(
                "it has come back {count} times; the plan needs `force` to put it back again"
            ));
        }
        let to = self.destination(letter).ok_or_else(|| {
            if letter.payload().is_none() {
                letter.why_without_payload()
            } else {
                "the letter does not tell where it came from; the plan needs `to`"
            }
        })?;
        let parcel = Parcel::redriven(letter, &to, &self.header.plan, body, group)?;
        Ok(Some((to, parcel)))
    }

    /// Reads a plan's file.
    ///
    /// # Errors
    /// If it cannot be read, or a line is none of a plan; the error names the line.
    pub fn read(file: impl BufRead) -> Result<Self> {
        let mut plan: Option<Self> = None;
        for (index, line) in file.lines().enumerate() {
            let line = line.map_err(|error| unreadable(index, &error))?;
            if line.trim().is_empty() {
                continue;
            }
            match &mut plan {
                None => {
                    let header = serde_json::from_str(&line);
                    plan = Some(Self {
                        header: header.map_err(|error| unreadable(index, &error))?,
                        steps: Vec::new(),
                        by_id: HashMap::new(),
                    });
                }
                Some(plan) => {
                    let step = Step::read(&line).map_err(|problem| unreadable(index, &problem))?;
                    if plan.by_id.contains_key(&step.message_id) {
                        let twice = format!("message {} has two steps", step.message_id);
                        return Err(unreadable(index, &twice));
                    }
                    plan.insert(step);
                }
            }
        }
        plan.ok_or_else(|| Error::malformed("the plan is empty"))
    }

    /// Writes the plan's file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, mut file: impl Write) -> Result<()> {
        writeln!(file, "{}", serde_json::to_string(&self.header)?)?;
        for step in &self.steps {
            writeln!(file, "{}", serde_json::to_string(step)?)?;
        }
        Ok(())
    }
}

fn unreadable(index: usize, problem: &impl std::fmt::Display) -> Error {
    Error::malformed(format!("line {} of the plan: {problem}", index + 1))
}

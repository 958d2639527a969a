//! What is wrong, where, and what to do about it.

use serde::Serialize;

use crate::application::yaml::Place;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Events are lost or stay for ever, or this goes unnoticed.
    Error,
    /// It works until something else goes wrong.
    Warning,
    /// Worth a thought; no finding that counts.
    Hint,
}

impl Severity {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Hint => "hint",
        }
    }
}

/// What is looked for. Its id never changes its meaning; `docs/check.md` has the reasons.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) id: &'static str,
    pub(crate) severity: Severity,
    /// What to do.
    pub(crate) fix: &'static str,
}

#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) rule: &'static Rule,
    pub(crate) place: Place,
    /// What it is about; several, where one template is nested several times.
    pub(crate) subjects: Vec<String>,
    pub(crate) message: String,
    /// The parameter without whose value it is not found: `FunctionTimeout=60`.
    pub(crate) only_with: Option<String>,
}

/// The findings so far, each once.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    trial: Option<String>,
}

impl Findings {
    /// From now on a parameter has another value than any environment gives it. Only errors count then: whoever
    /// chooses another value may give up an alarm, but no event.
    pub(crate) fn try_parameter(&mut self, name: &str, value: &str) {
        self.trial = Some(format!("{name}={value}"));
    }

    pub(crate) fn add(
        &mut self,
        rule: &'static Rule,
        place: &Place,
        subject: &str,
        message: impl Into<String>,
    ) {
        if self.trial.is_some() && rule.severity != Severity::Error {
            return;
        }
        let message = message.into();
        let mut same_place = (self.list.iter_mut())
            .filter(|finding| finding.rule == rule && finding.place == *place);
        if self.trial.is_some() && same_place.any(|finding| finding.only_with.is_none()) {
            // Already found, without the parameter's help.
            return;
        }
        let same = (self.list.iter_mut()).find(|finding| {
            finding.rule == rule
                && finding.place == *place
                && finding.message == message
                && finding.only_with == self.trial
        });
        match same {
            Some(same) if same.subjects.iter().any(|known| known == subject) => {}
            Some(same) => same.subjects.push(subject.to_owned()),
            None => self.list.push(Finding {
                rule,
                place: place.clone(),
                subjects: vec![subject.to_owned()],
                message,
                only_with: self.trial.clone(),
            }),
        }
    }

    /// By their places.
    pub(crate) fn into_sorted(mut self) -> Vec<Finding> {
        self.list
            .sort_by(|a, b| (&a.place, a.rule.id).cmp(&(&b.place, b.rule.id)));
        self.list
    }
}

impl Finding {
    /// The finding in one line, without its place.
    pub(crate) fn sentence(&self) -> String {
        let subjects = match &self.subjects[..] {
            [one] => one.clone(),
            [one, two] => format!("{one} and {two}"),
            [one, rest @ ..] => format!("{one} and {} more", rest.len()),
            [] => String::new(),
        };
        let mut sentence = match subjects.is_empty() {
            true => self.message.clone(),
            false => format!("{subjects}: {}", self.message),
        };
        if let Some(parameter) = &self.only_with {
            sentence.push_str(&format!(" (with {parameter})"));
        }
        sentence
    }
}

/// The rules by name.
macro_rules! rules {
    ($($name:ident = $id:literal $severity:ident $fix:literal;)*) => {
        pub(crate) mod rule {
            use crate::check::finding::{Rule, Severity};
            $(pub(crate) static $name: Rule = Rule {
                id: $id,
                severity: Severity::$severity,
                fix: $fix,
            };)*
        }

        /// All of them.
        #[cfg(test)]
        pub(crate) static ALL: &[&Rule] = &[$(&rule::$name),*];
    };
}

rules! {
    UNRESOLVED = "SH001" Error "correct the name, or declare what it refers to";
    UNSEEN = "SH002" Hint "look at it by hand, or have a copy here";

    NO_BINARY = "SH101" Error "name a binary of the workspace in Metadata.BuildProperties.Binary";
    SAME_BINARY = "SH102" Error "rename one: both are built to the same file, and the later one wins";
    UNUSED_BINARY = "SH103" Warning "declare a function that is made from it, or remove it";
    PANIC = "SH104" Error "say `panic = \"unwind\"` in the workspace's [profile.release]: cargo-lambda aborts otherwise";
    CACHED = "SH105" Error "remove `cached` and `sync`: SAM's cache sees only a function's own folder, and deploys stale binaries";
    NOT_DESCRIBED = "SH106" Warning "read variables by `surehand::environment`, and call no service before `Function::run`";
    WRONG_SOURCE = "SH107" Error "give the function the source that delivers, or change what delivers";
    NO_TRIGGER = "SH108" Warning "add the event source, or the rule with the function as its target";
    NOT_IDEMPOTENT = "SH109" Error "give the function `.idempotent(…)`: a transaction commits its effects together with the claim";

    MISSING_VARIABLE = "SH201" Error "declare it under Environment.Variables, of the function or in Globals";
    PARKS_ELSEWHERE = "SH203" Error "give it the URL of the queue that the source's RedrivePolicy names";
    NO_ENDPOINT = "SH205" Warning "declare AWS_ENDPOINT_URL from a parameter EndpointUrl";
    NO_ARCHITECTURE = "SH206" Warning "take Architectures from a parameter Architecture";

    VISIBILITY = "SH301" Error "raise VisibilityTimeout to 6 x the function's timeout plus its batching window";
    NO_REDRIVE = "SH302" Error "add a RedrivePolicy with a dead-letter queue and maxReceiveCount 50";
    FEW_RECEIVES = "SH303" Warning "raise maxReceiveCount to several times the attempts, as 50 is: deliveries that no handler sees use up receives, too";
    DEAD_LETTER_RETENTION = "SH304" Error "set MessageRetentionPeriod to 1209600, which is 14 days";
    DEAD_LETTERS_NOT_KEPT = "SH305" Error "set DeletionPolicy and UpdateReplacePolicy to Retain";
    QUEUE_NOT_ENCRYPTED = "SH306" Error "remove `SqsManagedSseEnabled: false`, or set a KmsMasterKeyId";
    INSECURE_TRANSPORT = "SH307" Warning "deny sqs:* where aws:SecureTransport is false, in a QueuePolicy";
    MAY_NOT_SEND = "SH308" Error "allow events.amazonaws.com sqs:SendMessage in the queue's policy, with this aws:SourceArn";
    OPEN_QUEUE = "SH309" Error "restrict the statement by aws:SourceArn";
    OPEN_DEAD_LETTERS = "SH310" Warning "add a RedriveAllowPolicy: byQueue with its sources, or denyAll";
    FIFO_MISMATCH = "SH311" Error "make both queues FIFO, or neither";
    MOVED_BEFORE_PARKED = "SH312" Error "raise maxReceiveCount to several times the attempts, as 50 is, or lower MAX_ATTEMPTS";
    EXPIRES_BEFORE_MOVED = "SH313" Error "lower maxReceiveCount, or raise MessageRetentionPeriod";
    SHORT_OUTAGE = "SH314" Warning "raise MAX_ATTEMPTS or MAX_BACKOFF_S";
    EXPIRES_BEFORE_PARKED = "SH315" Error "lower MAX_ATTEMPTS or MAX_BACKOFF_S, or raise the queue's MessageRetentionPeriod";
    NO_PARTIAL_FAILURES = "SH321" Error "add `FunctionResponseTypes: [ReportBatchItemFailures]` to the event source";
    QUEUE_FILTER = "SH322" Error "remove FilterCriteria, and filter in the rule";
    UNBOUNDED = "SH323" Warning "set ScalingConfig.MaximumConcurrency, or ProvisionedPollerConfig";
    FIFO_BATCH = "SH324" Error "set BatchSize to at most 10, without a batching window";
    LARGE_BATCH = "SH325" Error "set MaximumBatchingWindowInSeconds to at least 1, or BatchSize to at most 10";
    SLOW_LANE = "SH326" Hint "lower BatchSize, or raise the timeout or maxReceiveCount";
    NOT_FROM_START = "SH331" Error "set StartingPosition to TRIM_HORIZON";
    NO_STREAM_FAILURES = "SH332" Error "add `FunctionResponseTypes: [ReportBatchItemFailures]` to the event source";
    NO_BISECT = "SH333" Error "set BisectBatchOnFunctionError to true";
    STREAM_FOREVER = "SH334" Error "set MaximumRecordAgeInSeconds to less than the day for which the stream keeps a record, as 82800 is";
    STREAM_NO_DESTINATION = "SH335" Error "add DestinationConfig.OnFailure with a queue";
    STREAM_VIEW = "SH336" Error "set StreamSpecification.StreamViewType to NEW_IMAGE or NEW_AND_OLD_IMAGES";
    STREAM_FEW_TRIES = "SH337" Warning "set MaximumRetryAttempts to -1, and limit the age";

    TARGET_NO_DEAD_LETTERS = "SH401" Error "add a DeadLetterConfig to the target";
    TARGET_NO_RETRY = "SH402" Warning "add a RetryPolicy to the target";
    BUS_NO_DEAD_LETTERS = "SH403" Warning "add a DeadLetterConfig to the bus";
    NO_ARCHIVE = "SH404" Warning "add an AWS::Events::Archive of the bus";
    ASYNC_NO_DESTINATION = "SH405" Error "add EventInvokeConfig.DestinationConfig.OnFailure to the function";
    NOT_DELIVERED = "SH406" Error "let the rule's pattern match it, or remove the handler";
    NOT_CONSUMED = "SH407" Error "add a handler for it, or narrow the rule's pattern";
    NO_CONSUMER = "SH408" Warning "add a rule for it, or stop publishing it";
    MAY_NOT_INVOKE = "SH409" Error "add an AWS::Lambda::Permission for events.amazonaws.com with the rule as its SourceArn";
    SERVICE_EVENTS = "SH410" Warning "put the rule on the default bus, or a rule there that sends these events to this bus";
    UNKNOWN_FIELD = "SH411" Error "correct the name: an event has version, id, detail-type, source, account, time, region, resources and detail";
    NO_RELAY = "SH412" Error "add a relay on the table's stream, and a sweep on a schedule";
    LONG_ARCHIVE = "SH413" Error "set RetentionDays to fewer days than claims are kept, or keep claims longer with `.expires_after(…)`";
    FEW_ASYNC_ATTEMPTS = "SH414" Hint "lower MAX_ATTEMPTS to MaximumRetryAttempts + 1, or put a queue before the function";

    MISSING_PERMISSION = "SH501" Error "allow it in the function's role";
    WILDCARD_ACTION = "SH502" Error "name the actions";
    WILDCARD_RESOURCE = "SH503" Error "name the resource";
    NO_OWN_ROLE = "SH504" Error "give each function an AWS::IAM::Role of its own";
    MANAGED_POLICY = "SH505" Warning "list the permissions in the role itself: managed policies allow them on everything";
    NOTHING_ALLOWED = "SH506" Warning "allow what the function does there, or remove the variable";

    NO_EXPIRY = "SH601" Error "set TimeToLiveSpecification to {AttributeName: expiration, Enabled: true}";
    TABLE_KEY = "SH602" Error "let the table's only key be the string `id`";
    NO_RECOVERY = "SH603" Error "set PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled to true";
    TABLE_NOT_ENCRYPTED = "SH604" Error "set SSESpecification.SSEEnabled to true";
    TABLE_NOT_KEPT = "SH605" Error "set DeletionPolicy and UpdateReplacePolicy to Retain";
    SHORT_MEMORY = "SH606" Error "raise `Idempotency::expires_after`, or lower the retention";
    NO_OUTBOX_INDEX = "SH607" Error "add the index `outbox` over outbox_shard (S) and outbox_since (N)";
    MEMORY_STORE = "SH608" Error "use DynamoDbStore: a process knows nothing of what others handle";
    ENTITY_KEY = "SH609" Error "let KeySchema have the attributes of the entity's `key(…)`, or correct the entity";
    ENTITY_INDEX = "SH610" Error "declare the index with this KeySchema, or correct the entity";
    UNDEFINED_ATTRIBUTE = "SH611" Error "declare its type in AttributeDefinitions";

    LOG_RETENTION = "SH701" Error "let LoggingConfig.LogGroup name an AWS::Logs::LogGroup with RetentionInDays";
    DEAD_LETTER_ALARM = "SH702" Error "add an alarm on ApproximateNumberOfMessagesVisible of the queue, with threshold 0";
    LAG_ALARM = "SH703" Error "add an alarm on ApproximateAgeOfOldestMessage of the queue";
    ERRORS_ALARM = "SH704" Warning "add an alarm on Errors of the function";
    THROTTLES_ALARM = "SH705" Warning "add an alarm on Throttles of the function";
    ITERATOR_ALARM = "SH706" Error "add an alarm on IteratorAge of the function";
    SILENT_ALARM = "SH707" Error "add AlarmActions with a topic";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: usize) -> Place {
        Place {
            file: "template.yaml".into(),
            line,
        }
    }

    #[test]
    fn a_template_that_is_nested_twice_is_wrong_once() {
        let mut findings = Findings::default();
        for subject in ["A/Queue", "B/Queue", "B/Queue", "C/Queue"] {
            findings.add(&rule::NO_REDRIVE, &place(3), subject, "no dead letters");
        }
        let found = findings.into_sorted();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].sentence(), "A/Queue and 2 more: no dead letters");
    }

    #[test]
    fn a_trial_finds_only_what_is_new_and_an_error() {
        let mut findings = Findings::default();
        findings.add(&rule::VISIBILITY, &place(3), "Q", "185 s is short");
        findings.try_parameter("FunctionTimeout", "60");
        findings.add(&rule::VISIBILITY, &place(3), "Q", "365 s is short");
        findings.add(&rule::NO_ARCHIVE, &place(4), "Bus", "no archive");
        findings.add(&rule::NO_REDRIVE, &place(5), "Q", "no dead letters");
        let sentences: Vec<String> = (findings.into_sorted().iter())
            .map(Finding::sentence)
            .collect();
        assert_eq!(
            sentences,
            [
                "Q: 185 s is short",
                "Q: no dead letters (with FunctionTimeout=60)"
            ]
        );
    }

    #[test]
    fn ids_are_unique_and_in_order() {
        assert!(ALL.windows(2).all(|pair| pair[0].id < pair[1].id));
        assert!(ALL.len() > 50);
    }
}

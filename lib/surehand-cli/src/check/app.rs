//! The application as the rules look at it: functions with what triggers them, rules with their targets, queues with
//! their policies.

use surehand::description::{Description, EventType, Use};

use super::policy::Statement;
use crate::application::{
    describe::Descriptions,
    resource::Resource,
    yaml::{Node, Place},
};

pub(crate) struct App<'a> {
    pub(crate) resources: &'a [Resource],
    pub(crate) functions: Vec<Function<'a>>,
    pub(crate) rules: Vec<EventRule<'a>>,
    pub(crate) pipes: Vec<Pipe<'a>>,
}

pub(crate) struct Function<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) binary: Option<&'a Node>,
    /// None if it does not describe itself.
    pub(crate) description: Option<&'a Description>,
    pub(crate) triggers: Vec<Trigger<'a>>,
}

/// An event source mapping.
#[derive(Clone)]
pub(crate) struct Trigger<'a> {
    pub(crate) kind: TriggerKind,
    pub(crate) place: &'a Place,
    pub(crate) properties: &'a Node,
    /// The queue, or the table whose stream it is.
    pub(crate) source: Option<&'a Resource>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TriggerKind {
    Queue,
    Stream,
}

/// A rule of EventBridge, or a schedule of EventBridge Scheduler.
pub(crate) struct EventRule<'a> {
    pub(crate) id: String,
    pub(crate) place: &'a Place,
    /// None for a schedule.
    pub(crate) pattern: Option<&'a Node>,
    /// Where its events come from; none for the default bus.
    pub(crate) bus: Option<&'a Node>,
    /// None if what it may do is not written in the policies of its targets.
    pub(crate) arn: Option<&'a str>,
    pub(crate) targets: Vec<Target<'a>>,
    /// Whether it may invoke functions without an `AWS::Lambda::Permission`: SAM makes one for the events of its
    /// functions, and a schedule has a role.
    pub(crate) has_permission: bool,
}

pub(crate) struct Target<'a> {
    pub(crate) node: &'a Node,
    pub(crate) arn: Option<&'a str>,
}

/// A pipe of EventBridge.
pub(crate) struct Pipe<'a> {
    pub(crate) resource: &'a Resource,
    /// The queue, or the table whose stream it is.
    pub(crate) source: Option<&'a Resource>,
    /// How it reads a stream; none if it reads something else.
    pub(crate) stream: Option<&'a Node>,
    pub(crate) target: Option<&'a str>,
}

impl<'a> App<'a> {
    pub(crate) fn new(resources: &'a [Resource], descriptions: &'a Descriptions) -> Self {
        let mut app = Self {
            resources,
            functions: Vec::new(),
            rules: Vec::new(),
            pipes: Vec::new(),
        };
        for resource in resources {
            match resource.kind.as_str() {
                "AWS::Serverless::Function" => {
                    let function = app.function(resource, descriptions);
                    app.functions.push(function);
                    app.rules.extend(rules_of_function(resource));
                }
                "AWS::Events::Rule" => app.rules.push(event_rule(resource)),
                "AWS::Scheduler::Schedule" => app.rules.push(schedule(resource)),
                "AWS::Pipes::Pipe" => {
                    let pipe = app.pipe(resource);
                    app.pipes.push(pipe);
                }
                _ => {}
            }
        }
        app
    }

    pub(crate) fn of_kind<'s>(&'s self, kind: &'s str) -> impl Iterator<Item = &'a Resource> + 's {
        self.resources.iter().filter(move |it| it.kind == kind)
    }

    /// Whether a nested stack whose template is not here gets this name, by itself or in a longer one.
    pub(crate) fn is_told_elsewhere(&self, name: &str) -> bool {
        let mut unseen = self.resources.iter().filter(|it| it.is_unseen);
        unseen.any(|stack| {
            let parameters = stack.property(&["Parameters"]);
            let mut parameters = parameters.into_iter().flat_map(Node::entries);
            parameters.any(|(_, value)| {
                let texts = value.items().iter().filter_map(Node::text);
                texts.into_iter().any(|text| text.contains(name))
            })
        })
    }

    pub(crate) fn by_arn(&self, arn: &str) -> Option<&'a Resource> {
        let arn = arn.strip_suffix("/stream/0").unwrap_or(arn);
        self.resources.iter().find(|it| it.arn == arn)
    }

    /// The resource that a variable's value names: by its URL, ARN or name.
    pub(crate) fn named(&self, value: &str, kinds: &[&str]) -> Option<&'a Resource> {
        let mut of_kinds = (self.resources.iter()).filter(|it| kinds.contains(&it.kind.as_str()));
        of_kinds.find(|it| {
            it.name == value
                || it.arn == value
                || (it.kind == "AWS::SQS::Queue" && it.url() == value)
        })
    }

    pub(crate) fn queue(&self, arn: &str) -> Option<&'a Resource> {
        self.by_arn(arn).filter(|it| it.kind == "AWS::SQS::Queue")
    }

    /// The function with this ARN, or with this one and an alias.
    pub(crate) fn function_by_arn(&self, arn: &str) -> Option<&Function<'a>> {
        let of = |it: &&Function<'a>| {
            let rest = arn.strip_prefix(it.resource.arn.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        self.functions.iter().find(of)
    }

    /// The queue to which this one's redrive policy moves messages.
    pub(crate) fn dead_letter_queue(&self, queue: &Resource) -> Option<&'a Resource> {
        let target = queue.property(&["RedrivePolicy", "deadLetterTargetArn"])?;
        self.queue(target.text()?)
    }

    /// The statements of the policies of a queue.
    pub(crate) fn queue_statements(&self, queue: &Resource) -> Vec<Statement<'a>> {
        self.of_kind("AWS::SQS::QueuePolicy")
            .filter(|policy| {
                let queues = policy.property(&["Queues"]).map_or(&[][..], Node::items);
                queues.iter().any(|it| it.may_be(&queue.url()))
            })
            .filter_map(|policy| policy.property(&["PolicyDocument"]))
            .flat_map(Statement::of)
            .collect()
    }

    /// The rules that deliver to this ARN.
    pub(crate) fn rules_to<'s>(
        &'s self,
        arn: &'s str,
    ) -> impl Iterator<Item = &'s EventRule<'a>> + 's {
        self.rules.iter().filter(move |rule| {
            let mut targets = rule.targets.iter().filter_map(|target| target.arn);
            targets.any(|target| {
                let rest = target.strip_prefix(arn);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
            })
        })
    }

    /// The pipes that deliver to this ARN.
    pub(crate) fn pipes_to<'s>(&'s self, arn: &'s str) -> impl Iterator<Item = &'s Pipe<'a>> + 's {
        self.pipes.iter().filter(move |pipe| {
            let rest = pipe.target.and_then(|target| target.strip_prefix(arn));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        })
    }

    fn pipe(&self, resource: &'a Resource) -> Pipe<'a> {
        let source = resource.property(&["Source"]).and_then(Node::text);
        let parameters = |name: &str| resource.property(&["SourceParameters", name]);
        Pipe {
            resource,
            source: source.and_then(|arn| self.by_arn(arn)),
            stream: parameters("DynamoDBStreamParameters")
                .or_else(|| parameters("KinesisStreamParameters")),
            target: resource.property(&["Target"]).and_then(Node::text),
        }
    }

    /// Every event that some function publishes or consumes.
    pub(crate) fn known_events(&self) -> Vec<&'a EventType> {
        let described = self.functions.iter().filter_map(|it| it.description);
        let mut events: Vec<&EventType> = described
            .flat_map(|it| {
                let consumed = it.handlers.iter().filter_map(|it| it.consumes.as_ref());
                consumed.chain(&it.publishes)
            })
            .collect();
        events.sort();
        events.dedup_by(|a, b| (&a.source, &a.detail_type) == (&b.source, &b.detail_type));
        events
    }

    /// Queues that hold what could not be handled or delivered.
    pub(crate) fn dead_letter_queues(&self) -> Vec<&'a Resource> {
        let mut arns: Vec<&str> = Vec::new();
        for resource in self.resources {
            arns.extend(
                [
                    &["RedrivePolicy", "deadLetterTargetArn"][..],
                    &["DeadLetterConfig", "Arn"],
                    &["DeadLetterQueue", "TargetArn"],
                    &[
                        "EventInvokeConfig",
                        "DestinationConfig",
                        "OnFailure",
                        "Destination",
                    ],
                ]
                .iter()
                .filter_map(|path| resource.property(path)?.text()),
            );
        }
        let targets = self.rules.iter().flat_map(|rule| &rule.targets);
        arns.extend(targets.filter_map(|it| it.node.at(&["DeadLetterConfig", "Arn"])?.text()));
        let triggers = self.functions.iter().flat_map(|it| &it.triggers);
        arns.extend(triggers.filter_map(|it| it.on_failure()?.text()));
        let streams = self.pipes.iter().filter_map(|it| it.stream);
        arns.extend(streams.filter_map(|it| it.at(&["DeadLetterConfig", "Arn"])?.text()));
        (self.of_kind("AWS::SQS::Queue"))
            .filter(|queue| arns.contains(&queue.arn.as_str()))
            .collect()
    }

    fn function(&self, resource: &'a Resource, descriptions: &'a Descriptions) -> Function<'a> {
        let binary = resource
            .attributes
            .at(&["Metadata", "BuildProperties", "Binary"]);
        let description = binary
            .and_then(Node::text)
            .and_then(|binary| descriptions.get(binary))
            .and_then(|described| described.as_ref().ok());
        let events = resource.property(&["Events"]);
        let events = events.into_iter().flat_map(Node::entries);
        let mut triggers: Vec<Trigger<'a>> = events
            .filter_map(|(_, event)| {
                let kind = match event.get("Type")?.text()? {
                    "SQS" => TriggerKind::Queue,
                    "DynamoDB" => TriggerKind::Stream,
                    _ => return None,
                };
                let properties = event.get("Properties")?;
                let source = properties
                    .get("Queue")
                    .or_else(|| properties.get("Stream"))?;
                Some(Trigger {
                    kind,
                    place: &event.place,
                    properties,
                    source: self.by_arn(source.text().unwrap_or_default()),
                })
            })
            .collect();
        let mappings = self.of_kind("AWS::Lambda::EventSourceMapping");
        triggers.extend(mappings.filter_map(|mapping| {
            let function = mapping.property(&["FunctionName"])?.text()?;
            let is_its_own = function == resource.name || function.starts_with(&resource.arn);
            let source = mapping.property(&["EventSourceArn"])?.text()?;
            let kind = if source.contains("/stream/") {
                TriggerKind::Stream
            } else {
                TriggerKind::Queue
            };
            is_its_own.then(|| Trigger {
                kind,
                place: &mapping.place,
                properties: &mapping.properties,
                source: self.by_arn(source),
            })
        }));
        Function {
            resource,
            binary,
            description,
            triggers,
        }
    }
}

/// Lambda's own default.
const DEFAULT_TIMEOUT: u64 = 3;

impl<'a> Function<'a> {
    pub(crate) fn id(&self) -> &'a str {
        &self.resource.id
    }

    /// In seconds; none if it is unknown.
    pub(crate) fn timeout(&self) -> Option<u64> {
        match self.resource.property(&["Timeout"]) {
            Some(timeout) => timeout.number(),
            None => Some(DEFAULT_TIMEOUT),
        }
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&'a Node> {
        self.resource.property(&["Environment", "Variables", name])
    }

    /// The names of the variables that the library uses for this.
    pub(crate) fn variables_for(&self, what: Use) -> Vec<&'a str> {
        let variables = self.description.map_or(&[][..], |it| &it.variables);
        let of_use = variables.iter().filter(|it| it.uses.contains(&what));
        of_use.map(|it| it.name.as_str()).collect()
    }

    pub(crate) fn queues(&self) -> impl Iterator<Item = (&Trigger<'a>, &'a Resource)> {
        let triggers = self.triggers.iter();
        triggers
            .filter(|it| it.kind == TriggerKind::Queue)
            .filter_map(|it| Some((it, it.source?)))
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = &Trigger<'a>> {
        let triggers = self.triggers.iter();
        triggers.filter(|it| it.kind == TriggerKind::Stream)
    }

    /// The events that it takes; none if it takes any.
    pub(crate) fn consumes(&self) -> Option<Vec<&'a EventType>> {
        let handlers = self.description?.handlers.iter();
        handlers.map(|it| it.consumes.as_ref()).collect()
    }

    /// Its role; none if it has none in this template.
    pub(crate) fn role(&self, app: &App<'a>) -> Option<&'a Resource> {
        let role = self.resource.property(&["Role"])?.text()?;
        app.by_arn(role).filter(|it| it.kind == "AWS::IAM::Role")
    }

    /// What it may do. None if that is not all written down here: a role that is elsewhere, a managed policy or a
    /// connector allows more.
    pub(crate) fn statements(&self, app: &App<'a>) -> Option<Vec<Statement<'a>>> {
        if self.has_connector(app) {
            return None;
        }
        let (mut statements, role) = match self.role(app) {
            Some(role) if role.property(&["ManagedPolicyArns"]).is_some() => return None,
            Some(role) => {
                let own = role.property(&["Policies"]).map_or(&[][..], Node::items);
                let own = own.iter().filter_map(|policy| policy.get("PolicyDocument"));
                (own.flat_map(Statement::of).collect(), Some(&role.name))
            }
            None if self.resource.property(&["Role"]).is_some() => return None,
            None => (self.policies()?, None),
        };
        // The name of a role that SAM makes is unknown.
        let is_it = |it: &Node| it.is_unknown() || role.is_some_and(|role| it.is(role));
        for kind in [
            "AWS::IAM::Policy",
            "AWS::IAM::RolePolicy",
            "AWS::IAM::ManagedPolicy",
        ] {
            let attached = app.of_kind(kind).filter(|policy| {
                let roles = policy.property(&["Roles"]).map_or(&[][..], Node::items);
                let one = policy.property(&["RoleName"]);
                roles.iter().chain(one).any(is_it)
            });
            let documents = attached.filter_map(|policy| policy.property(&["PolicyDocument"]));
            statements.extend(documents.flat_map(Statement::of));
        }
        Some(statements)
    }

    /// What the role that SAM makes for it allows, besides what its event sources and its log need.
    fn policies(&self) -> Option<Vec<Statement<'a>>> {
        let policies = self.resource.property(&["Policies"]);
        let mut statements = Vec::new();
        for policy in policies.map_or(&[][..], Node::items) {
            match policy.get("Statement") {
                Some(_) => statements.extend(Statement::of(policy)),
                // A managed policy, or a policy template that is not known here.
                None => return None,
            }
        }
        Some(statements)
    }

    /// Where its permissions are written.
    pub(crate) fn place_of_permissions(&self, app: &App<'a>) -> Place {
        let of = self.role(app).unwrap_or(self.resource);
        of.place_of(&["Policies"])
    }

    /// Whether a connector of SAM may give it permissions.
    fn has_connector(&self, app: &App<'a>) -> bool {
        let own = self.id().rsplit('/').next().unwrap_or_default();
        let mut connectors = app.of_kind("AWS::Serverless::Connector");
        self.resource.attributes.get("Connectors").is_some()
            || connectors.any(|it| {
                let source = it.property(&["Source", "Id"]);
                source.is_none_or(|source| source.may_be(own))
            })
    }
}

impl<'a> Trigger<'a> {
    pub(crate) fn property(&self, path: &[&str]) -> Option<&'a Node> {
        self.properties.at(path)
    }

    /// Where the property is, or else the trigger.
    pub(crate) fn place_of(&self, path: &[&str]) -> &'a Place {
        self.property(path).map_or(self.place, |node| &node.place)
    }

    /// In seconds.
    pub(crate) fn window(&self) -> u64 {
        let window = self.property(&["MaximumBatchingWindowInSeconds"]);
        window.and_then(Node::number).unwrap_or(0)
    }

    pub(crate) fn reports_failures(&self) -> bool {
        let types = self.property(&["FunctionResponseTypes"]);
        types.is_some_and(|types| {
            let mut types = types.items().iter();
            types.any(|it| it.is_unknown() || it.is("ReportBatchItemFailures"))
        })
    }

    pub(crate) fn on_failure(&self) -> Option<&'a Node> {
        self.property(&["DestinationConfig", "OnFailure", "Destination"])
    }
}

fn event_rule(resource: &Resource) -> EventRule<'_> {
    let targets = resource.property(&["Targets"]).map_or(&[][..], Node::items);
    EventRule {
        id: resource.id.clone(),
        place: &resource.place,
        pattern: resource.property(&["EventPattern"]),
        bus: resource.property(&["EventBusName"]),
        arn: Some(&resource.arn),
        targets: (targets.iter())
            .map(|node| Target {
                node,
                arn: node.get("Arn").and_then(Node::text),
            })
            .collect(),
        has_permission: false,
    }
}

fn schedule(resource: &Resource) -> EventRule<'_> {
    let target = resource.property(&["Target"]);
    EventRule {
        id: resource.id.clone(),
        place: &resource.place,
        pattern: None,
        bus: None,
        arn: None,
        targets: (target.into_iter())
            .map(|node| Target {
                node,
                arn: node.get("Arn").and_then(Node::text),
            })
            .collect(),
        has_permission: true,
    }
}

/// The rules that SAM makes for a function.
fn rules_of_function(function: &Resource) -> impl Iterator<Item = EventRule<'_>> {
    let events = function.property(&["Events"]);
    let events = events.into_iter().flat_map(Node::entries);
    events.filter_map(|(name, event)| {
        let kind = event.get("Type")?.text()?;
        let is_schedule = ["Schedule", "ScheduleV2"].contains(&kind);
        if !is_schedule && !["EventBridgeRule", "CloudWatchEvent"].contains(&kind) {
            return None;
        }
        let properties = event.get("Properties")?;
        Some(EventRule {
            id: format!("{}/{name}", function.id),
            place: &event.place,
            pattern: properties.get("Pattern").filter(|_| !is_schedule),
            bus: properties.get("EventBusName"),
            arn: None,
            targets: vec![Target {
                node: properties,
                arn: Some(&function.arn),
            }],
            has_permission: true,
        })
    })
}

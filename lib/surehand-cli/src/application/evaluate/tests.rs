//! Small templates, and what they come to.

use std::path::Path;

use super::*;

const MAIN: &str = "
Parameters:
  Stage: {Type: String, Default: dev}
  Name: {Type: String}
Conditions:
  IsProd: !Equals [!Ref Stage, prod]
  Neither: !Not [!Or [!Condition IsProd, !Equals [a, b]]]
Mappings:
  Limits:
    dev: {Size: 1}
Globals:
  Function:
    Environment: {Variables: {A: all, B: all}}
Resources:
  Bus: {Type: 'AWS::Events::EventBus', Properties: {Name: !Sub '${AWS::StackName}-bus'}}
  Nested:
    Type: AWS::CloudFormation::Stack
    Properties:
      TemplateURL: infra/q.yaml
      Parameters: {Fifo: 'true', Source: !GetAtt Bus.Arn}
  Function:
    Type: AWS::Serverless::Function
    Properties:
      Environment:
        Variables:
          B: own
          C: !If [IsProd, x, !Ref AWS::NoValue]
          D: !GetAtt Nested.Outputs.Url
          E: !FindInMap [Limits, !Ref Stage, Size]
          F: !Select [1, !Split ['@', 'a@b']]
          G: !Join ['-', [a, !Ref Stage]]
          H: !If [Neither, yes, no]
          I: !Ref Name
          J: !Sub ['${X}/${!Y}', {X: !Ref Bus}]
  OnlyProd: {Type: AWS::SNS::Topic, Condition: IsProd}
";
const NESTED: &str = "
Parameters:
  Fifo: {Type: String, Default: 'false'}
  Source: {Type: String}
Conditions: {IsFifo: !Equals [!Ref Fifo, 'true']}
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Properties:
      FifoQueue: !If [IsFifo, true, !Ref AWS::NoValue]
      Tags: !Ref Source
Outputs:
  Url: {Value: !Ref Queue}
";

fn evaluated(main: &str, stage: Option<&str>) -> (Vec<Resource>, Vec<String>) {
    let templates = Templates::read_by(Path::new(""), "template.yaml", |file| {
        let text = match file {
            "template.yaml" => Some(main),
            "infra/q.yaml" => Some(NESTED),
            _ => None,
        };
        Ok(text.map(str::to_owned))
    });
    let parameters = stage.map(|stage| ("Stage".to_owned(), stage.to_owned()));
    let at = Whereabouts {
        stack: "shop".to_owned(),
        region: "eu-west-1".to_owned(),
    };
    let parameters = parameters.into_iter().collect();
    let evaluated = resources(&templates.unwrap(), &parameters, &at).unwrap();
    let problems = evaluated.remarks.into_iter().map(|remark| remark.message);
    (evaluated.resources, problems.collect())
}

#[test]
fn values_are_those_of_a_deployment() {
    let (resources, problems) = evaluated(MAIN, None);
    assert_eq!(problems, [""; 0]);
    let find = |id: &str| resources.iter().find(|it| it.id == id).unwrap();
    let queue = find("Nested/Queue");
    assert_eq!(queue.name, "shop-Nested-Queue.fifo");
    assert_eq!(
        queue.property(&["Tags"]).unwrap().text(),
        Some(find("Bus").arn.as_str())
    );
    let variables = find("Function")
        .property(&["Environment", "Variables"])
        .unwrap();
    let value = |name: &str| variables.get(name).map(|node| node.text().unwrap_or("?"));
    assert_eq!(value("A"), Some("all"));
    assert_eq!(value("B"), Some("own"));
    assert_eq!(value("C"), None);
    assert_eq!(value("D"), Some(queue.url().as_str()));
    assert_eq!(value("E"), Some("1"));
    assert_eq!(value("F"), Some("b"));
    assert_eq!(value("G"), Some("a-dev"));
    assert_eq!(value("H"), Some("yes"));
    assert_eq!(value("I"), Some("?"));
    assert_eq!(value("J"), Some("shop-bus/${Y}"));
    assert!(resources.iter().all(|it| it.id != "OnlyProd"));
}

#[test]
fn unresolved_references_are_reported() {
    let (resources, problems) = evaluated(MAIN, Some("prod"));
    assert_eq!(problems, ["the mapping Limits has no Size for `prod`"]);
    assert!(resources.iter().any(|it| it.id == "OnlyProd"));
    let (_, problems) = evaluated(&MAIN.replace("Outputs.Url", "Outputs.Uri"), None);
    assert_eq!(problems, ["`Uri` is not an output of infra/q.yaml"]);
    let (_, problems) = evaluated(&MAIN.replace("!Ref Name", "!Ref Names"), None);
    assert_eq!(problems, ["there is no `Names` to refer to"]);
}

/// What evaluating these files fails with.
fn refused(files: &[(String, String)]) -> String {
    let templates = Templates::read_by(Path::new(""), "template.yaml", |file| {
        let found = files.iter().find(|(name, _)| name == file);
        Ok(found.map(|(_, text)| text.clone()))
    });
    let at = Whereabouts {
        stack: "shop".to_owned(),
        region: "eu-west-1".to_owned(),
    };
    let error = resources(&templates.unwrap(), &BTreeMap::new(), &at).unwrap_err();
    let error = error.to_string();
    let rest =
        "cannot evaluate template.yaml and the templates that it nests: they come to more than ";
    error.strip_prefix(rest).unwrap_or(&error).to_owned()
}

#[test]
fn what_doubles_meets_its_budget() {
    let main = |text: String| [("template.yaml".to_owned(), text)];
    // Each name is twice as long as the one before.
    let mut names =
        "Resources:\n  R0: {Type: 'AWS::SQS::Queue', Properties: {QueueName: xxxxxxxx}}\n"
            .to_owned();
    for n in 0..40 {
        names.push_str(&format!(
            "  R{}: {{Type: 'AWS::SQS::Queue', Properties: {{QueueName: !Join ['', [!GetAtt R{n}.QueueName, !GetAtt R{n}.QueueName]]}}}}\n",
            n + 1
        ));
    }
    assert_eq!(refused(&main(names)), "67108864 bytes of text");
    // A large value, many times.
    let items = "x, ".repeat(10_000);
    let mut copies = format!("Mappings: {{M: {{a: {{b: [{items}]}}}}}}\nResources:\n");
    for n in 0..300 {
        copies.push_str(&format!(
            "  R{n}: {{Type: A::B::C, Properties: {{P: !FindInMap [M, a, b]}}}}\n"
        ));
    }
    assert_eq!(refused(&main(copies)), "2000000 values");
    // Six stacks in each of six stacks, and so on.
    let nest = |level: usize| {
        let stack = |n: usize| {
            format!(
                "  S{n}: {{Type: 'AWS::CloudFormation::Stack', Properties: {{TemplateURL: t{}.yaml}}}}\n",
                level + 1
            )
        };
        format!("Resources:\n{}", (0..6).map(stack).collect::<String>())
    };
    let mut files = vec![("template.yaml".to_owned(), nest(0))];
    files.extend((1..14).map(|level| (format!("t{level}.yaml"), nest(level))));
    assert_eq!(refused(&files), "1000 nested stacks");
}

/// Each condition asks for the one before twice; each is evaluated once.
#[test]
fn conditions_that_double_are_evaluated_once() {
    let mut template =
        "Parameters: {P: {Type: String}}\nConditions:\n  C0: !Equals [!Ref P, x]\n".to_owned();
    for n in 0..60 {
        template.push_str(&format!(
            "  C{}: !Or [!Condition C{n}, !And [!Condition C{n}, !Condition C{n}]]\n",
            n + 1
        ));
    }
    template.push_str("  Own: !And [!Condition Own, !Condition Own]\n");
    template.push_str(
        "Resources:\n  A: {Type: A::B::C, Condition: C60}\n  B: {Type: A::B::C, Condition: Own}\n",
    );
    let (resources, problems) = evaluated(&template, None);
    assert_eq!(resources.len(), 2);
    assert_eq!(problems, ["it refers to itself"]);
}

#[test]
fn what_is_outside_of_the_project_is_not_read() {
    for file in ["../secret.yaml", "/dev/zero", "infra/../../secret.yaml"] {
        let main = format!(
            "Resources: {{S: {{Type: 'AWS::CloudFormation::Stack', Properties: {{TemplateURL: {file}}}}}}}"
        );
        let templates = Templates::read_by(Path::new(""), "template.yaml", |file| match file {
            "template.yaml" => Ok(Some(main.clone())),
            other => panic!("{other} was read"),
        });
        let at = Whereabouts {
            stack: "shop".to_owned(),
            region: "eu-west-1".to_owned(),
        };
        let evaluated = resources(&templates.unwrap(), &BTreeMap::new(), &at).unwrap();
        let messages: Vec<&str> = (evaluated.remarks.iter())
            .map(|remark| remark.message.as_str())
            .collect();
        let expected =
            format!("S: {file} is outside of the project, and what it makes was not looked at");
        assert_eq!(messages, [expected]);
    }
}

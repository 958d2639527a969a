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
    let (resources, remarks) = resources(&templates.unwrap(), &parameters, &at);
    let problems = remarks.into_iter().map(|remark| remark.message);
    (resources, problems.collect())
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

//! Conditions.

use super::Scope;
use crate::application::{
    resource::ACCOUNT,
    yaml::{Node, Place},
};

impl Scope<'_> {
    /// Evaluates a condition; none if it is unknown.
    pub(super) fn condition(&self, name: &str, place: &Place) -> Option<bool> {
        let Some(declared) = self.template.at(&["Conditions", name]) else {
            if self.unseen_transforms().is_empty() {
                self.problem(place, format!("there is no condition `{name}`"));
            }
            return None;
        };
        if *self.depth.borrow() > super::MAX_DEPTH {
            self.problem(&declared.place, "it refers to itself".to_owned());
            return None;
        }
        *self.depth.borrow_mut() += 1;
        let truth = self.truth(declared);
        *self.depth.borrow_mut() -= 1;
        truth
    }

    fn truth(&self, node: &Node) -> Option<bool> {
        let (name, argument) = node.entries().next()?;
        let each = || argument.items().iter().map(|item| self.truth(item));
        match name {
            "Condition" => self.condition(argument.text()?, &argument.place),
            "Fn::Equals" => {
                let [a, b] = argument.items() else {
                    return None;
                };
                let (a, b) = (self.evaluate(a)?, self.evaluate(b)?);
                // The account id is a placeholder.
                let is_known = |node: &Node| !node.is_unknown() && node.text() != Some(ACCOUNT);
                // To a parameter, an empty text and no text are the same.
                let text = |node: &Node| node.text().unwrap_or_default().to_owned();
                (is_known(&a) && is_known(&b)).then(|| text(&a) == text(&b))
            }
            "Fn::Not" => each().next()?.map(|truth| !truth),
            "Fn::And" => match each().collect::<Option<Vec<bool>>>() {
                Some(all) => Some(all.into_iter().all(|truth| truth)),
                None => each().any(|truth| truth == Some(false)).then_some(false),
            },
            "Fn::Or" => match each().collect::<Option<Vec<bool>>>() {
                Some(all) => Some(all.into_iter().any(|truth| truth)),
                None => each().any(|truth| truth == Some(true)).then_some(true),
            },
            _ => None,
        }
    }
}

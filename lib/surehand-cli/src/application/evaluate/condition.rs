//! Conditions.

use super::{Scope, Truth};
use crate::application::{
    resource::ACCOUNT,
    yaml::{Node, Place},
};

impl Scope<'_> {
    /// Evaluates a condition; none if it is unknown.
    pub(super) fn condition(&self, name: &str, place: &Place) -> Option<bool> {
        let known = self.conditions.borrow().get(name).copied();
        if let Some(Truth::Known(truth)) = known {
            return truth;
        }
        let Some(declared) = self.template.at(&["Conditions", name]) else {
            if self.unseen_transforms().is_empty() {
                self.problem(place, format!("there is no condition `{name}`"));
            }
            return None;
        };
        if known.is_some() {
            self.problem(&declared.place, "it refers to itself".to_owned());
            return None;
        }
        let know = |truth| (self.conditions.borrow_mut()).insert(name.to_owned(), truth);
        know(Truth::Open);
        let truth = self.truth(declared);
        know(Truth::Known(truth));
        truth
    }

    fn truth(&self, node: &Node) -> Option<bool> {
        self.world.budget.take_values(1);
        if !self.world.budget.holds() {
            return None;
        }
        let truth = self.world.budget.deeper(|| self.truth_at_depth(node));
        truth.flatten()
    }

    fn truth_at_depth(&self, node: &Node) -> Option<bool> {
        let (name, argument) = node.entries().next()?;
        let each = || -> Vec<Option<bool>> {
            let items = argument.items().iter();
            items.map(|item| self.truth(item)).collect()
        };
        // What decides alone, or else what all of them say.
        let unless = |decides: bool| {
            let each = each();
            match each.contains(&Some(decides)) {
                true => Some(decides),
                false => each.iter().all(Option::is_some).then_some(!decides),
            }
        };
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
            "Fn::Not" => each().first()?.map(|truth| !truth),
            "Fn::And" => unless(false),
            "Fn::Or" => unless(true),
            _ => None,
        }
    }
}

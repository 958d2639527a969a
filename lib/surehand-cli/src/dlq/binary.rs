//! Which binary of the application a deployed function is.

use anyhow::{Result, bail};

use crate::{
    application::{
        project::Project,
        templates::{Function, Templates},
    },
    cloud::Cloud,
};

/// The binary that the function runs, by the stack or by the template.
pub(super) fn binary(cloud: &Cloud, project: &Project, function: &str) -> Result<String> {
    if let Some(stack) = &cloud.stack {
        let name = cloud.full_name(function)?;
        let known = stack.functions.iter().find(|it| it.name == name);
        return Ok(known.map_or(function, |it| &it.binary).to_owned());
    }
    let functions = Templates::read(project)?.functions()?;
    let best = functions.iter().filter_map(|it| fit(it, function)).max();
    let is_best = |it: &&Function| best.is_some() && fit(it, function) == best;
    let known: Vec<&Function> = functions.iter().filter(is_best).collect();
    match known[..] {
        [one] => Ok(one.binary.clone()),
        [] => bail!(
            "no function `{function}` in {}",
            project.template().display()
        ),
        _ => bail!(
            "`{function}` can be {} in {}: name it by its logical id",
            known
                .iter()
                .map(|it| &*it.logical_id)
                .collect::<Vec<_>>()
                .join(" or "),
            project.template().display()
        ),
    }
}

/// How well the template's function fits a function's name: none if it does not. CloudFormation's own names hold the
/// logical id, and those that a template makes end in what it calls the function.
fn fit(it: &Function, name: &str) -> Option<usize> {
    if it.binary == name || it.logical_id == name {
        return Some(usize::MAX);
    }
    let is_made = name.ends_with(&format!("-{}", it.binary));
    let id = it.logical_id.rsplit('/').next().unwrap_or_default();
    let is_own = name.contains(&format!("-{id}-"));
    let made = is_made.then_some(it.binary.len());
    made.max(is_own.then_some(id.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_function_that_it_fits_best() {
        let function = |logical_id: &str, binary: &str| Function {
            logical_id: logical_id.into(),
            binary: binary.into(),
        };
        let audit = function("Audit", "audit");
        let orders = function("OrderAudit", "order-audit");
        let fits = |name| (fit(&audit, name), fit(&orders, name));
        let (short, long) = fits("shop-order-audit");
        assert!(long > short, "the longer name is meant");
        assert_eq!(fits("shop-audit").1, None);
        assert_eq!(fits("shopaudit"), (None, None), "it is part of a word");
        assert_eq!(fits("shop-OrderAudit-1X2Y"), (None, Some(10)));
        assert_eq!(fits("audit").0, Some(usize::MAX));
    }
}

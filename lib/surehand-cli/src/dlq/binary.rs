//! Which binary of the application a deployed function is.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::{
    application::{
        project::Project,
        samconfig::Settings,
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
    let stacks = || {
        let text = project.text("samconfig.toml")?.unwrap_or_default();
        let environments = Settings::environments(&text).context("cannot read samconfig.toml")?;
        let environments = environments.into_values();
        Ok(environments.filter_map(|it| it.stack_name).collect())
    };
    meant(&functions, function, project.template(), stacks)
}

/// The binary of the function with this name. `stacks` are asked for if the name alone can mean several.
fn meant(
    functions: &[Function],
    name: &str,
    template: &Path,
    stacks: impl FnOnce() -> Result<Vec<String>>,
) -> Result<String> {
    let template = template.display();
    let is_id = |it: &Function| it.logical_id == name;
    let mut known = match functions.iter().any(is_id) {
        true => binaries(functions, is_id),
        false => binaries(functions, |it| fits(it, name)),
    };
    if known.len() > 1 {
        let stacks = stacks()?;
        let deployed = binaries(functions, |it| {
            stacks.iter().any(|stack| is_in(it, stack, name).is_some())
        });
        if !deployed.is_empty() {
            known = deployed;
        }
    }
    let mut readings = known.iter();
    match (readings.next(), readings.next()) {
        (Some((binary, _)), None) => Ok((*binary).to_owned()),
        (None, _) => bail!("no function `{name}` in {template}"),
        (Some(_), Some(_)) => {
            let known = known.iter().map(|(binary, ids)| {
                let ids = ids.join(" and ");
                format!("{ids} (binary {binary})")
            });
            bail!(
                "`{name}` can be {} in {template}: name it by its logical id, or set the `stack_name` that it is \
                 deployed under in samconfig.toml",
                known.collect::<Vec<_>>().join(" or ")
            )
        }
    }
}

/// The binaries of those functions of the template, with their logical ids.
fn binaries(functions: &[Function], are: impl Fn(&Function) -> bool) -> BTreeMap<&str, Vec<&str>> {
    let mut binaries = BTreeMap::<&str, Vec<&str>>::new();
    for function in functions.iter().filter(|it| are(it)) {
        let ids = binaries.entry(&function.binary).or_default();
        ids.push(&function.logical_id);
    }
    binaries
}

/// Whether the template's function can have this name in some stack. CloudFormation's own names hold the logical id
/// before what it has drawn, and those that a template makes end in what it calls the function.
fn fits(it: &Function, name: &str) -> bool {
    let (_, id) = path(it);
    let of_template = name.strip_suffix(&*it.binary);
    of_template.is_some_and(|rest| rest.is_empty() || rest.ends_with('-'))
        || name.rsplit('-').nth(1) == Some(id)
}

/// Whether it has this name in this stack.
fn is_in(it: &Function, stack: &str, name: &str) -> Option<()> {
    let below =
        |rest: &str, above: &str| Some(rest.strip_prefix(above)?.strip_prefix('-')?.to_owned());
    let mut rest = below(name, stack)?;
    let (stacks, id) = path(it);
    for nested in stacks.split('/').filter(|it| !it.is_empty()) {
        // CloudFormation has drawn the rest of a nested stack's name.
        rest = below(&rest, nested)?.split_once('-')?.1.to_owned();
    }
    let drawn = rest.rsplit_once('-');
    (rest == it.binary || drawn.is_some_and(|(own, _)| own == id)).then_some(())
}

/// The nested stacks that it is in, and its id there.
fn path(it: &Function) -> (&str, &str) {
    it.logical_id
        .rsplit_once('/')
        .unwrap_or(("", &it.logical_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(functions: &[(&str, &str)], name: &str, stacks: &[&str]) -> Result<String> {
        let functions = functions.iter();
        let functions = functions.map(|(logical_id, binary)| Function {
            logical_id: (*logical_id).into(),
            binary: (*binary).into(),
        });
        let stacks = stacks.iter().map(|it| (*it).to_owned()).collect();
        let functions: Vec<_> = functions.collect();
        meant(&functions, name, Path::new("template.yaml"), || Ok(stacks))
    }

    const AUDITS: [(&str, &str); 2] = [("Audit", "audit"), ("OrderAudit", "order-audit")];

    #[test]
    fn a_name_is_the_function_that_it_fits() {
        for (name, binary) in [
            ("Audit", "audit"),
            ("audit", "audit"),
            ("shop-audit", "audit"),
            ("OrderAudit", "order-audit"),
            ("shop-OrderAudit-1X2Y", "order-audit"),
            ("shop-Audit-1X2Y", "audit"),
        ] {
            assert_eq!(of(&AUDITS, name, &[]).unwrap(), binary, "{name}");
        }
        for name in ["shopaudit", "shop-audits", "Orders", ""] {
            let error = of(&AUDITS, name, &["shop"]).unwrap_err().to_string();
            assert_eq!(error, format!("no function `{name}` in template.yaml"));
        }
    }

    /// In the stack `order` it is Audit, and in `shop-order` as well.
    #[test]
    fn a_name_that_two_functions_can_have_is_that_of_the_stack_or_refused() {
        for (name, stacks, binary) in [
            ("order-audit", &["order"][..], "audit"),
            ("order-order-audit", &["order"], "order-audit"),
            ("shop-order-audit", &["shop"], "order-audit"),
            ("shop-order-audit", &["other", "shop-order"], "audit"),
        ] {
            assert_eq!(of(&AUDITS, name, stacks).unwrap(), binary, "{name}");
        }
        for (name, stacks) in [
            ("order-audit", &[][..]),
            ("order-audit", &["shop"]),
            ("shop-order-audit", &["other"]),
            ("shop-order-audit", &["shop", "shop-order"]),
        ] {
            let error = of(&AUDITS, name, stacks).unwrap_err().to_string();
            assert_eq!(
                error,
                format!(
                    "`{name}` can be Audit (binary audit) or OrderAudit (binary order-audit) in template.yaml: name it \
                     by its logical id, or set the `stack_name` that it is deployed under in samconfig.toml"
                )
            );
        }
    }

    #[test]
    fn functions_of_one_binary_are_no_question() {
        let workers = [("Bills/Worker", "worker"), ("Orders/Worker", "worker")];
        for name in ["worker", "shop-worker", "shop-Orders-1X-Worker-2Y"] {
            assert_eq!(of(&workers, name, &[]).unwrap(), "worker", "{name}");
        }
    }

    #[test]
    fn a_function_of_a_nested_stack_has_that_stacks_name_before_its_own() {
        let workers = [("Bills/Worker", "bills"), ("Orders/Worker", "orders")];
        let of = |name: &str, stacks: &[&str]| of(&workers, name, stacks);
        assert_eq!(of("shop-Orders-1X-Worker-2Y", &["shop"]).unwrap(), "orders");
        assert_eq!(of("shop-Bills-1X-bills", &["shop"]).unwrap(), "bills");
        assert!(of("shop-Orders-1X-Worker-2Y", &[]).is_err());
        assert_eq!(of("Orders/Worker", &[]).unwrap(), "orders");
    }
}

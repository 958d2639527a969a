//! Which binary of the application a deployed function is.

use anyhow::{Result, bail};

use crate::{
    application::{project::Project, templates::Templates},
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
    // What CloudFormation names a function by ends in what the template calls it, or holds its logical id.
    let known = functions.iter().find(|it| {
        it.binary == function
            || it.logical_id == function
            || function.ends_with(&it.binary)
            || (it.logical_id.rsplit('/').next())
                .is_some_and(|id| function.contains(&format!("-{id}-")))
    });
    match known {
        Some(function) => Ok(function.binary.clone()),
        None => bail!(
            "no function `{function}` in {}",
            project.template().display()
        ),
    }
}

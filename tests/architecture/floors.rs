//! The order of a crate's modules, and what breaks it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    imports::{Import, extensions, imports},
    krate::{Crate, ModulePath},
};

/// The floor of each top-level module of a crate, 1 at the ground.
pub(super) struct Floors(BTreeMap<String, usize>);

impl Floors {
    /// Reads the list under `### CRATE` in the section `## Floors`: an item a floor, from the ground up. It
    /// has the floor's modules in backticks with commas between them, and may say why after a dash.
    pub(super) fn read(page: &str, name: &str) -> Result<Self, String> {
        let section = page
            .split("\n## ")
            .find_map(|it| it.strip_prefix("Floors\n"))
            .ok_or("ARCHITECTURE.md has no section `## Floors`")?;
        let list = section
            .split("\n### ")
            .find_map(|it| it.strip_prefix(&format!("{name}\n")))
            .ok_or_else(|| {
                format!("ARCHITECTURE.md has no `### {name}` in its section `## Floors`")
            })?;
        let mut floors = BTreeMap::new();
        for (index, item) in items(list).into_iter().enumerate() {
            let wrong = |why: &str| format!("{name}: {why} in ARCHITECTURE.md: {item}");
            let (number, text) = item.split_once(". ").unwrap_or_default();
            let floor = index + 1;
            if number != floor.to_string() {
                return Err(wrong(&format!("floor {floor} has another number")));
            }
            let modules = text.split(" — ").next().unwrap_or_default();
            for module in modules.split(',') {
                let module = module
                    .trim()
                    .strip_prefix('`')
                    .and_then(|it| it.strip_suffix('`'))
                    .ok_or_else(|| wrong("a floor is a list of modules in backticks"))?;
                if floors.insert(module.to_owned(), floor).is_some() {
                    return Err(wrong(&format!("`{module}` has two floors")));
                }
            }
        }
        Ok(Self(floors))
    }
}

/// The items of a numbered list, each in one line.
fn items(list: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for line in list.lines() {
        let continued = line.starts_with(' ').then(|| items.last_mut()).flatten();
        if line.starts_with(|c: char| c.is_ascii_digit()) {
            items.push(line.to_owned());
        } else if let Some(item) = continued {
            item.push(' ');
            item.push_str(line.trim());
        }
    }
    items
}

/// What of a crate is not as the floors have it, a line each.
pub(super) fn faults(name: &str, krate: &Crate, floors: &Floors) -> Vec<String> {
    let mut faults = misplaced(krate, floors);
    let imports = imports(krate);
    faults.extend(imports.iter().filter_map(|it| upward(krate, floors, it)));
    faults.extend(circles(krate, &imports));
    faults.extend(
        extensions(krate)
            .iter()
            .filter_map(|it| extends(krate, floors, it)),
    );
    let faults = faults.iter().map(|fault| format!("{name}: {fault}"));
    faults.collect()
}

/// Modules without a floor, and floors without a module.
fn misplaced(krate: &Crate, floors: &Floors) -> Vec<String> {
    let modules: BTreeSet<&str> = krate
        .modules
        .keys()
        .filter_map(|it| top(krate, it))
        .collect();
    let listed: BTreeSet<&str> = floors.0.keys().map(String::as_str).collect();
    let without = modules
        .difference(&listed)
        .map(|it| format!("`{it}` has no floor in ARCHITECTURE.md"));
    let unknown = listed.difference(&modules).map(|it| {
        format!("`{it}` has a floor in ARCHITECTURE.md, but is not a module of the crate")
    });
    let strays = krate.strays.iter();
    let strays =
        strays.map(|it| format!("{it} is no module's: declare it with `mod`, or delete it"));
    without.chain(unknown).chain(strays).collect()
}

/// Reports a method of the type of a lower module, which what is between them could call without an
/// import. A trait's methods are called through the trait, which has to be imported.
fn extends(krate: &Crate, floors: &Floors, extension: &Import) -> Option<String> {
    let (from, to) = (top(krate, &extension.from)?, top(krate, &extension.to)?);
    (floors.0.get(to)? < floors.0.get(from)?).then(|| {
        format!(
            "`{from}` adds methods to a type of `{to}`: {}:{} {}",
            extension.file, extension.line, extension.text
        )
    })
}

/// The top-level module that a module belongs to; the crate's root belongs to none.
fn top<'a>(krate: &Crate, path: &'a ModulePath) -> Option<&'a str> {
    let first = path.first()?;
    let root = &krate.modules[&Vec::new()].file;
    // What the root has within its own file is a part of the root.
    (krate.modules[&vec![first.clone()]].file != *root).then_some(first.as_str())
}

/// Reports an import that does not go down. The root is above all floors, and may import any
/// module.
fn upward(krate: &Crate, floors: &Floors, import: &Import) -> Option<String> {
    let place = format!("{}:{} {}", import.file, import.line, import.text);
    let from = top(krate, &import.from)?;
    let Some(to) = top(krate, &import.to) else {
        return Some(format!("`{from}` imports the crate's root: {place}"));
    };
    let (floor, below) = (*floors.0.get(from)?, *floors.0.get(to)?);
    if from == to || below < floor {
        None
    } else if below == floor {
        Some(format!(
            "floor {floor} `{from}` imports `{to}` from the same floor: {place}"
        ))
    } else {
        Some(format!(
            "floor {floor} `{from}` imports `{to}` from floor {below}: {place}"
        ))
    }
}

/// One circle of imports for each set of files, within a top-level module, that reach each other.
fn circles(krate: &Crate, imports: &[Import]) -> Vec<String> {
    let mut graph: BTreeMap<&str, BTreeMap<&str, &Import>> = BTreeMap::new();
    for import in imports {
        let within = top(krate, &import.from).is_some()
            && top(krate, &import.from) == top(krate, &import.to);
        let to = &krate.modules[&import.to].file;
        if within && !import.hands_on && *to != import.file {
            let arrows = graph.entry(&import.file).or_default();
            arrows.entry(to).or_insert(import);
        }
    }
    let mut told: BTreeSet<&str> = BTreeSet::new();
    let mut circles = Vec::new();
    for &file in graph.keys() {
        if told.contains(file) {
            continue;
        }
        if let Some(circle) = circle(&graph, file) {
            told.extend(circle.iter().map(|it| it.file.as_str()));
            let arrows = circle.iter().map(|it| {
                let to = &krate.modules[&it.to].file;
                format!("\n    {}:{} {} ({to})", it.file, it.line, it.text)
            });
            let tree = krate.modules.iter().find(|(_, it)| it.file == file);
            let tree = tree
                .and_then(|(path, _)| top(krate, path))
                .unwrap_or_default();
            circles.push(format!(
                "the files of `{tree}` import each other in a circle:{}",
                arrows.collect::<String>()
            ));
        }
    }
    circles
}

/// The shortest way from a file back to it.
fn circle<'a>(
    graph: &BTreeMap<&'a str, BTreeMap<&'a str, &'a Import>>,
    file: &'a str,
) -> Option<Vec<&'a Import>> {
    let mut came: BTreeMap<&str, &Import> = BTreeMap::new();
    let mut queue = VecDeque::from([file]);
    while let Some(at) = queue.pop_front() {
        for (&to, &import) in graph.get(at).into_iter().flatten() {
            if to == file {
                let mut way = vec![import];
                while way[way.len() - 1].file != file {
                    way.push(came[way[way.len() - 1].file.as_str()]);
                }
                way.reverse();
                return Some(way);
            }
            if !came.contains_key(to) {
                came.insert(to, import);
                queue.push_back(to);
            }
        }
    }
    None
}

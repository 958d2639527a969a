//! Which entities a function reads and writes.

use super::entity::{Entity, IndexSchema, KeySchema};
use crate::description::{EntityUse, KeyDescription, TableAction};
use std::collections::{BTreeMap, BTreeSet};

/// Which entities a function reads and writes, and how.
///
/// A function can do nothing else with its [`Tables`](super::Tables), so that what is written here is
/// true: `surehand check` compares it with the function's role, and the tests' tables are made from it.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// use surehand::{Entity, tables::Access};
///
/// #[derive(Serialize, Deserialize, Entity)]
/// #[entity(table = "SHOP_TABLE", key(sku))]
/// struct StockRow { sku: String, available: i64 }
///
/// let access = Access::new().reads::<StockRow>().updates::<StockRow>();
/// ```
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// By the variable of its table, and its type: two modules may have types of one name.
    entities: BTreeMap<(&'static str, &'static str), EntityAccess>,
}

/// What is done with one entity.
#[derive(Clone, Debug)]
pub(crate) struct EntityAccess {
    name: &'static str,
    pub(crate) key: KeySchema,
    pub(crate) indexes: &'static [IndexSchema],
    pub(crate) actions: BTreeSet<TableAction>,
}

impl Access {
    /// To nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads items by key: GetItem and BatchGetItem.
    pub fn reads<E: Entity>(self) -> Self {
        self.with::<E>(&[TableAction::GetItem, TableAction::BatchGetItem])
    }

    /// Reads items by partition, also by an index: Query.
    pub fn queries<E: Entity>(self) -> Self {
        self.with::<E>(&[TableAction::Query])
    }

    /// Puts items, whether they are new ([`insert`](crate::Transaction::insert)) or not
    /// ([`put`](crate::Transaction::put)): PutItem.
    pub fn puts<E: Entity>(self) -> Self {
        self.with::<E>(&[TableAction::PutItem])
    }

    /// Updates items: UpdateItem.
    pub fn updates<E: Entity>(self) -> Self {
        self.with::<E>(&[TableAction::UpdateItem])
    }

    /// Deletes items: DeleteItem.
    pub fn deletes<E: Entity>(self) -> Self {
        self.with::<E>(&[TableAction::DeleteItem])
    }

    /// Makes commits depend on items: ConditionCheckItem.
    pub fn checks<E: Entity>(self) -> Self {
        self.with::<E>(&[TableAction::ConditionCheckItem])
    }

    /// To what either allows.
    pub fn and(mut self, other: Self) -> Self {
        for (name, theirs) in other.entities {
            match self.entities.get_mut(&name) {
                Some(ours) => ours.actions.extend(theirs.actions),
                None => drop(self.entities.insert(name, theirs)),
            }
        }
        self
    }

    fn with<E: Entity>(mut self, actions: &[TableAction]) -> Self {
        let id = (E::TABLE, std::any::type_name::<E>());
        let entity = self.entities.entry(id).or_insert_with(|| EntityAccess {
            name: E::NAME,
            key: E::KEY,
            indexes: E::INDEXES,
            actions: BTreeSet::new(),
        });
        entity.actions.extend(actions);
        self
    }

    pub(crate) fn allows<E: Entity>(&self, action: TableAction) -> bool {
        let entity = self.entities.get(&(E::TABLE, std::any::type_name::<E>()));
        entity.is_some_and(|it| it.actions.contains(&action))
    }

    /// Each entity, with the variable of its table.
    pub(crate) fn entities(&self) -> impl Iterator<Item = (&'static str, &EntityAccess)> {
        self.entities
            .iter()
            .map(|((table, _), entity)| (*table, entity))
    }

    /// The same for a function's description.
    pub(crate) fn describe(&self) -> Vec<EntityUse> {
        let key = |key: &KeySchema| KeyDescription {
            partition: key.partition.name.to_owned(),
            sort: key.sort.map(|it| it.name.to_owned()),
        };
        let entities = self.entities.iter();
        entities
            .map(|((variable, _), entity)| EntityUse {
                entity: entity.name.to_owned(),
                variable: (*variable).to_owned(),
                key: key(&entity.key),
                indexes: entity
                    .indexes
                    .iter()
                    .map(|index| (index.name.to_owned(), key(&index.key)))
                    .collect(),
                actions: entity.actions.iter().copied().collect(),
            })
            .collect()
    }
}

//! Writes that no transaction commits.

use super::{
    TableError, Tables,
    draft::{Draft, first_version, is_absent, is_version},
    entity::Entity,
    value::to_item,
};
use crate::description::TableAction;
use aws_sdk_dynamodb::{
    operation::put_item::PutItemError,
    types::{Put, ReturnValuesOnConditionCheckFailure::AllOld},
};

/// Writes for a handler whose effect is safe to repeat. What must happen once with its record is staged on a
/// [`Transaction`](crate::Transaction).
impl Tables {
    /// Puts an item unless there is another one with its key. Returns whether it is there: false if another one is.
    /// A put that is repeated with the same item is true again.
    ///
    /// # Errors
    /// If the item is not valid, or DynamoDB does not answer.
    pub async fn insert<E: Entity>(&self, entity: &E) -> Result<bool, TableError> {
        let table = self.allowed::<E>(TableAction::PutItem)?;
        let mut item = to_item(entity)?;
        if let Some(version) = E::VERSION {
            item.insert(version.to_owned(), first_version());
        }
        let mut draft = Draft::put(table, item);
        draft.only_if(is_absent::<E>());
        self.put_draft::<E>(draft).await
    }

    /// Puts an item, whatever was there before. For an entity with a version, see
    /// [`Transaction::put`](crate::Transaction::put).
    ///
    /// # Errors
    /// If the item is not valid, DynamoDB does not answer, or there is another version.
    pub async fn put<E: Entity>(&self, entity: &E) -> Result<(), TableError> {
        let table = self.allowed::<E>(TableAction::PutItem)?;
        let mut item = to_item(entity)?;
        let condition = E::VERSION.map(|name| is_version::<E>(name, &mut item));
        let mut draft = Draft::put(table, item);
        if let Some(condition) = condition {
            draft.only_if(condition?);
        }
        match self.put_draft::<E>(draft).await? {
            true => Ok(()),
            false => Err(TableError::from(format!(
                "{:?} has another version than the one to put: read it again",
                entity.to_key()
            ))),
        }
    }

    /// Returns false if the condition does not hold.
    async fn put_draft<E: Entity>(&self, draft: Draft) -> Result<bool, TableError> {
        let Some(put) = draft.write::<E>()?.put else {
            return Ok(false);
        };
        let Put {
            table_name,
            item,
            condition_expression,
            expression_attribute_names,
            expression_attribute_values,
            ..
        } = put;
        let sent = self
            .client()
            .put_item()
            .table_name(&table_name)
            .set_item(Some(item.clone()))
            .return_values_on_condition_check_failure(AllOld)
            .set_condition_expression(condition_expression)
            .set_expression_attribute_names(expression_attribute_names)
            .set_expression_attribute_values(expression_attribute_values)
            .send()
            .await;
        match sent.map_err(aws_sdk_dynamodb::error::SdkError::into_service_error) {
            Ok(_) => Ok(true),
            // The client repeats a call whose answer it did not get, and then meets what it has put.
            Err(PutItemError::ConditionalCheckFailedException(refused)) => {
                Ok(refused.item.is_some_and(|old| old == item))
            }
            Err(error) => Err(TableError::of_call("written", &table_name, error)),
        }
    }
}

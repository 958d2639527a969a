//! What a client asks of DynamoDB, by DynamoDB's own account.

use aws_sdk_dynamodb::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::{
            BeforeSerializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
            FinalizerInterceptorContextRef,
        },
    },
    error::BoxError,
    operation::{
        get_item::{GetItemInput, GetItemOutput},
        put_item::{PutItemInput, PutItemOutput},
        transact_write_items::{TransactWriteItemsInput, TransactWriteItemsOutput},
        update_item::{UpdateItemInput, UpdateItemOutput},
    },
    types::{ConsumedCapacity, ReturnConsumedCapacity},
};
use std::sync::{Arc, Mutex};

/// Calls, and the capacity that they consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spent {
    pub(crate) calls: usize,
    /// Calls that were refused. DynamoDB does not say what they consumed.
    pub(crate) refused: usize,
    /// Write units of tables.
    pub(crate) write: f64,
    /// Write units of indexes.
    pub(crate) index: f64,
    /// Read units.
    pub(crate) read: f64,
}

/// Asks for the capacity that each call consumes, and adds it up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<Mutex<Spent>>);

impl Meter {
    /// Returns the capacity that was used since the last call.
    pub(crate) fn take(&self) -> Spent {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn add(&self, consumed: &ConsumedCapacity, is_read: bool) {
        let spent = &mut *self.0.lock().unwrap();
        let units = |capacity: Option<f64>| capacity.expect("the units that were asked for");
        let table = consumed.table().expect("the table's part");
        if is_read {
            spent.read += units(table.capacity_units());
        } else {
            spent.write += units(table.capacity_units());
        }
        for index in consumed.global_secondary_indexes().into_iter().flatten() {
            spent.index += units(index.1.capacity_units());
        }
    }
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "meter"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let input = context.input_mut();
        let asked = if let Some(input) = input.downcast_mut::<TransactWriteItemsInput>() {
            &mut input.return_consumed_capacity
        } else if let Some(input) = input.downcast_mut::<PutItemInput>() {
            &mut input.return_consumed_capacity
        } else if let Some(input) = input.downcast_mut::<UpdateItemInput>() {
            &mut input.return_consumed_capacity
        } else if let Some(input) = input.downcast_mut::<GetItemInput>() {
            &mut input.return_consumed_capacity
        } else {
            return Ok(());
        };
        *asked = Some(ReturnConsumedCapacity::Indexes);
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.lock().unwrap().calls += 1;
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(Ok(output)) = context.output_or_error() else {
            self.0.lock().unwrap().refused += 1;
            return Ok(());
        };
        let one = |consumed: Option<&ConsumedCapacity>, is_read| {
            self.add(consumed.expect("the capacity that was asked for"), is_read);
        };
        if let Some(output) = output.downcast_ref::<TransactWriteItemsOutput>() {
            for consumed in output.consumed_capacity() {
                self.add(consumed, false);
            }
        } else if let Some(output) = output.downcast_ref::<PutItemOutput>() {
            one(output.consumed_capacity(), false);
        } else if let Some(output) = output.downcast_ref::<UpdateItemOutput>() {
            one(output.consumed_capacity(), false);
        } else if let Some(output) = output.downcast_ref::<GetItemOutput>() {
            one(output.consumed_capacity(), true);
        }
        Ok(())
    }
}

//! customer-ledger: books what orders cost, in each customer's order.

use crate::{
    events::OrderCharged,
    ledger::{Ledger, LedgerError},
};
use surehand::{Envelope, Error, State, Transaction};

/// Books the charge in the customer's ledger.
///
/// # Errors
/// A charge that can never be booked is rejected; after any other error it is tried again.
pub async fn customer_ledger(
    charge: Envelope<OrderCharged>,
    State(ledger): State<Ledger>,
    tx: Transaction,
) -> surehand::Result<()> {
    let booked = ledger.book(&tx, &charge.data).await;
    booked.map_err(|error| match error {
        LedgerError::Overflow(_) => Error::rejected(error),
        _ => error.into(),
    })
}

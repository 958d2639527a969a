//! customer-ledger: books what orders cost, in each customer's order.

use crate::{
    events::OrderCharged,
    ledger::{Ledger, LedgerError},
};
use surehand::{Envelope, Error, State, Transaction};

/// Books the charge.
///
/// # Errors
/// A charge that no attempt can book is rejected; anything else may work next time.
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

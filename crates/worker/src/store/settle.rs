//! Settlement: applies the inputs of a batch in one transaction, with one result for each.

use orders::StateName;
use sqlx::PgConnection;

use super::outbox::Outgoing;
use super::settlement_batch::{Settled, SettlementBatch};
use super::settlement_input::SettlementInput;
use super::{CallRecord, Store, StoreError, gateway_calls, transitions};
use crate::failpoint;

/// A settlement in a transaction that is not committed yet.
pub(super) struct Uncommitted {
    pub(super) settled: Vec<Settled>,
    pub(super) outgoing: Vec<Outgoing>,
    moves: Vec<Move>,
}

struct Move {
    from: Option<StateName>,
    to: StateName,
}

impl Store {
    /// Applies the inputs in their order and writes everything that follows, all or nothing. The
    /// results are in the order of the inputs. After a [`StoreError::Conflict`] the same inputs can
    /// have another result: call again.
    pub(crate) async fn settle(
        &self,
        inputs: &[SettlementInput],
    ) -> Result<Vec<Settled>, StoreError> {
        self.settle_with_calls(inputs, &[]).await
    }

    /// [`Store::settle`], with the evidence of calls in the same transaction.
    pub(crate) async fn settle_with_calls(
        &self,
        inputs: &[SettlementInput],
        calls: &[CallRecord],
    ) -> Result<Vec<Settled>, StoreError> {
        let mut tx = self.begin(inputs.len()).await?;
        let uncommitted = self.decide(&mut tx, inputs).await?;
        gateway_calls::insert(&mut tx, calls).await?;
        failpoint::reached("settle.written");
        tx.commit().await?;
        failpoint::reached("settle.committed");
        Ok(self.after_commit(uncommitted))
    }

    /// The result of [`Store::settle`]: decided and written in the same way, and rolled back.
    pub(crate) async fn dry_run(
        &self,
        inputs: &[SettlementInput],
    ) -> Result<Vec<Settled>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let uncommitted = self.decide(&mut tx, inputs).await?;
        tx.rollback().await?;
        Ok(uncommitted.settled)
    }

    /// Decides and writes, in a transaction that the caller ends.
    pub(super) async fn decide(
        &self,
        connection: &mut PgConnection,
        inputs: &[SettlementInput],
    ) -> Result<Uncommitted, StoreError> {
        let mut batch = SettlementBatch::open(connection, inputs, self.schedule.clone()).await?;
        let settled: Vec<Settled> = inputs.iter().map(|input| batch.settle(input)).collect();
        let moves = batch.transitions().map(|it| Move { from: it.from, to: it.to }).collect();
        let outgoing = batch.write(connection, inputs, &settled).await?;
        Ok(Uncommitted { settled, outgoing, moves })
    }

    /// Counts the transitions and passes the events to the relay.
    pub(super) fn after_commit(&self, committed: Uncommitted) -> Vec<Settled> {
        for Move { from, to } in committed.moves {
            transitions::count(from, to);
        }
        self.outbox.notify(committed.outgoing);
        committed.settled
    }
}

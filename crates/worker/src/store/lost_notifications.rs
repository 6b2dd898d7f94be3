//! Payments that no notification told of.

use std::time::Duration;

use time::OffsetDateTime;
use wechatpay_v2::MchId;

use super::{Store, StoreError};

/// The newest payments that are looked at.
const FOUND_MAX: i64 = 10_000;
/// Orders of one merchant whose checks are moved in one statement.
const ADVANCED_MAX: i64 = 1000;

/// A merchant with payments that a query found and that no notification told of in time.
#[derive(Clone, Debug)]
pub(crate) struct FoundPayments {
    pub(crate) mch_id: MchId,
    /// When the last of them was found.
    pub(crate) last_at: OffsetDateTime,
}

impl Store {
    /// The merchants of which two or more payments were found by a query within the last ten
    /// minutes, while no notification told of them within `lost_after` after they were made.
    pub(crate) async fn found_payments(
        &self,
        lost_after: Duration,
    ) -> Result<Vec<FoundPayments>, StoreError> {
        let rows = sqlx::query!(
            r#"/* payments_found_late */
            select found.mch_id, max(found.at) as "last_at!"
            from (
                select mch_id, out_trade_no, at from order_transitions
                where source = 'query' and to_state = 'paid' and at > now() - interval '10 minutes'
                order by at desc limit $2
            ) found
            join orders o on o.mch_id = found.mch_id and o.out_trade_no = found.out_trade_no
            where o.time_end < now() - make_interval(secs => $1)
                and not exists (
                    select from notifications n
                    where n.mch_id = found.mch_id and n.out_trade_no = found.out_trade_no
                        and n.transaction_id = o.transaction_id
                        and n.received_at <= o.time_end + make_interval(secs => $1)
                )
            group by found.mch_id having count(*) >= 2"#,
            lost_after.as_secs_f64(),
            FOUND_MAX,
        )
        .fetch_all(&self.pool)
        .await?;
        let fault = |_| StoreError::Fault("a transition's row: mch_id".to_owned());
        rows.into_iter()
            .map(|row| {
                let mch_id = MchId::parse(row.mch_id).map_err(fault)?;
                Ok(FoundPayments { mch_id, last_at: row.last_at })
            })
            .collect()
    }

    /// Moves the next checks of a merchant's young payable orders forward, to `interval` after the
    /// last check or after their `prepay_id`.
    pub(crate) async fn advance_checks(
        &self,
        mch_id: &MchId,
        interval: Duration,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "/* advance_checks */
            update orders o set next_check_at = greatest(
                now(), coalesce(o.checked_at, o.prepay_issued_at) + make_interval(secs => $2))
            from (
                select out_trade_no from orders
                where mch_id = $1 and state = 'payable' and call_lease_until is null
                    and next_check_at > now() + make_interval(secs => $2)
                    and next_check_at < now() + interval '20 minutes'
                    and prepay_issued_at > now() - interval '10 minutes'
                order by next_check_at limit $3 for update skip locked
            ) young
            where o.mch_id = $1 and o.out_trade_no = young.out_trade_no",
            mch_id.as_str(),
            interval.as_secs_f64(),
            ADVANCED_MAX,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

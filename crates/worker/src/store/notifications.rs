//! The table `notifications`: what WeChat posted, once per raw body.

mod stored;

use std::collections::BTreeMap;

use bytes::Bytes;
use sqlx::PgConnection;
use time::OffsetDateTime;
use wechatpay_v2::MchId;

use super::StoreError;

pub(crate) use stored::{DigestPrefix, NotificationSummary, StoredNotification};

/// A notification as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// SHA-256 of the raw body.
    pub(crate) digest: [u8; 32],
    /// Either `payment` or `refund`.
    pub(crate) kind: &'static str,
    pub(crate) mch_id: MchId,
    /// As far as it is known.
    pub(crate) out_trade_no: Option<String>,
    /// As far as it is known.
    pub(crate) transaction_id: Option<String>,
    pub(crate) raw: Bytes,
    /// When the ingress received it, in UTC.
    pub(crate) received_at: OffsetDateTime,
    /// The status of a notification that brings no fact.
    pub(crate) status: NotificationStatus,
    /// The reason of the status, in words without values.
    pub(crate) detail: Option<String>,
}

/// What became of a notification; the column `verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotificationStatus {
    /// It moved the order.
    Applied,
    /// The order was there already.
    Already,
    /// It opened an exception, or found it open, and moved nothing.
    Exception,
    /// The order's state cannot accept it.
    Refused,
    /// It does not verify.
    BadSignature,
    /// It is authentic and reports no success.
    NotSuccess,
    /// It is authentic, and a field is missing or malformed.
    Unreadable,
    /// It is kept for a later version to act on.
    Deferred,
}

impl NotificationStatus {
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Already => "already",
            Self::Exception => "exception",
            Self::Refused => "refused",
            Self::BadSignature => "bad_signature",
            Self::NotSuccess => "not_success",
            Self::Unreadable => "unreadable",
            Self::Deferred => "deferred",
        }
    }

    /// The statuses that stay, whatever becomes of the same notification later.
    fn final_names() -> Vec<String> {
        [Self::Applied, Self::Already].map(|status| status.as_str().to_owned()).to_vec()
    }
}

struct Received<'a> {
    evidence: &'a Evidence,
    status: NotificationStatus,
    /// How often the same body comes again in this batch.
    repeats: i32,
}

/// Inserts notifications, or counts them as repeats of the same body. The status becomes the one of
/// this attempt unless the stored one is final.
pub(super) async fn upsert<'a>(
    connection: &mut PgConnection,
    received: impl Iterator<Item = (&'a Evidence, NotificationStatus)>,
) -> Result<(), StoreError> {
    // In the order of the digests, the same in every worker: no circle of waiting inserts.
    let mut by_digest: BTreeMap<[u8; 32], Received<'_>> = BTreeMap::new();
    for (evidence, status) in received {
        by_digest
            .entry(evidence.digest)
            .and_modify(|first| first.repeats += 1)
            .or_insert(Received { evidence, status, repeats: 0 });
    }
    if by_digest.is_empty() {
        return Ok(());
    }
    let evidence = || by_digest.values().map(|it| it.evidence);
    let digests: Vec<Vec<u8>> = evidence().map(|it| it.digest.to_vec()).collect();
    let kinds: Vec<String> = evidence().map(|it| it.kind.to_owned()).collect();
    let mch_ids: Vec<String> = evidence().map(|it| it.mch_id.to_string()).collect();
    let numbers: Vec<Option<String>> = evidence().map(|it| it.out_trade_no.clone()).collect();
    let transactions: Vec<Option<String>> =
        evidence().map(|it| it.transaction_id.clone()).collect();
    let raw: Vec<Vec<u8>> = evidence().map(|it| it.raw.to_vec()).collect();
    let at: Vec<OffsetDateTime> = evidence().map(|it| it.received_at).collect();
    let details: Vec<Option<String>> = evidence().map(|it| it.detail.clone()).collect();
    let statuses: Vec<String> =
        by_digest.values().map(|it| it.status.as_str().to_owned()).collect();
    let repeats: Vec<i32> = by_digest.values().map(|it| it.repeats).collect();
    sqlx::query!(
        "/* upsert_notifications */
        insert into notifications as n (digest, kind, mch_id, out_trade_no, transaction_id, raw,
            received_at, last_received_at, repeats, verdict, detail)
        select digest, kind, mch_id, out_trade_no, transaction_id, raw, at, at, repeats, verdict,
            detail
        from unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[],
            $7::timestamptz[], $8::int4[], $9::text[], $10::text[])
            as u (digest, kind, mch_id, out_trade_no, transaction_id, raw, at, repeats, verdict,
                detail)
        order by digest
        on conflict (digest) do update set
            kind = case when n.verdict = any($11) then n.kind else excluded.kind end,
            out_trade_no = coalesce(excluded.out_trade_no, n.out_trade_no),
            transaction_id = coalesce(excluded.transaction_id, n.transaction_id),
            repeats = n.repeats + 1 + excluded.repeats,
            last_received_at = greatest(n.last_received_at, excluded.last_received_at),
            verdict = case when n.verdict = any($11) then n.verdict else excluded.verdict end,
            detail = case when n.verdict = any($11) then n.detail else excluded.detail end",
        &digests,
        &kinds,
        &mch_ids,
        &numbers as _,
        &transactions as _,
        &raw,
        &at,
        &repeats,
        &statuses,
        &details as _,
        &NotificationStatus::final_names(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives a stored notification its new status unless the stored one is final. It does not count as
/// a repeat: WeChat did not send it again.
pub(super) async fn update_status(
    connection: &mut PgConnection,
    evidence: &Evidence,
    status: NotificationStatus,
) -> Result<(), StoreError> {
    sqlx::query!(
        "/* update_notification_status */
        update notifications set
            verdict = case when verdict = any($6) then verdict else $2 end,
            detail = case when verdict = any($6) then detail else $3 end,
            out_trade_no = coalesce(out_trade_no, $4),
            transaction_id = coalesce(transaction_id, $5)
        where digest = $1",
        &evidence.digest[..],
        status.as_str(),
        evidence.detail,
        evidence.out_trade_no,
        evidence.transaction_id,
        &NotificationStatus::final_names(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

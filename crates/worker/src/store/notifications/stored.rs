use orders::OrderKey;
use serde::Serialize;
use time::OffsetDateTime;
use wechatpay_v2::MchId;

use crate::store::{LINES_MAX, Store, StoreError};

/// A row of the table. It has no `Debug`, because it holds the raw body.
#[derive(Clone)]
pub(crate) struct StoredNotification {
    /// SHA-256 of the raw body.
    pub(crate) digest: Vec<u8>,
    /// Either `payment` or `refund`.
    pub(crate) kind: String,
    pub(crate) mch_id: String,
    pub(crate) out_trade_no: Option<String>,
    pub(crate) transaction_id: Option<String>,
    pub(crate) raw: Vec<u8>,
    pub(crate) received_at: OffsetDateTime,
    pub(crate) last_received_at: OffsetDateTime,
    /// How often it came again.
    pub(crate) repeats: i32,
    /// The name of a [`NotificationStatus`](super::NotificationStatus).
    pub(crate) verdict: String,
    pub(crate) detail: Option<String>,
}

/// A row of the table without the raw body.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NotificationSummary {
    /// SHA-256 of the raw body, in hex.
    pub(crate) digest: String,
    /// Either `payment` or `refund`.
    #[serde(rename = "notification")]
    pub(crate) kind: String,
    /// The name of a [`NotificationStatus`](super::NotificationStatus).
    pub(crate) verdict: String,
    pub(crate) detail: Option<String>,
    /// How often it came again.
    pub(crate) repeats: i32,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) received_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) last_received_at: OffsetDateTime,
}

/// The digests that begin with the same digits, as a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DigestPrefix {
    first: [u8; 32],
    last: [u8; 32],
}

impl DigestPrefix {
    /// Reads 1 to 64 hex digits.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if !(1..=64).contains(&text.len()) {
            return None;
        }
        let mut first = [0; 32];
        let mut last = [0xff; 32];
        for (index, digit) in text.bytes().enumerate() {
            let digit = u8::try_from(char::from(digit).to_digit(16)?).ok()?;
            let shift = if index % 2 == 0 { 4 } else { 0 };
            first[index / 2] |= digit << shift;
            last[index / 2] &= !((0xf ^ digit) << shift);
        }
        Some(Self { first, last })
    }
}

impl Store {
    /// The notifications about an order, oldest first, at most the newest [`LINES_MAX`].
    pub(crate) async fn notifications_of(
        &self,
        key: &OrderKey,
    ) -> Result<Vec<NotificationSummary>, StoreError> {
        self.notifications(&key.mch_id, Some(key.out_trade_no.as_str())).await
    }

    /// The notifications to a merchant without a known order, mostly because they do not verify.
    pub(crate) async fn notifications_without_order(
        &self,
        mch_id: &MchId,
    ) -> Result<Vec<NotificationSummary>, StoreError> {
        self.notifications(mch_id, None).await
    }

    async fn notifications(
        &self,
        mch_id: &MchId,
        out_trade_no: Option<&str>,
    ) -> Result<Vec<NotificationSummary>, StoreError> {
        let lines = sqlx::query_as!(
            NotificationSummary,
            r#"/* list_notifications */
            select encode(digest, 'hex') as "digest!", kind, verdict, detail, repeats, received_at,
                last_received_at
            from notifications
            where mch_id = $1
                and (out_trade_no = $2 or ($2::text is null and out_trade_no is null))
            order by received_at desc, digest limit $3"#,
            mch_id.as_str(),
            out_trade_no,
            LINES_MAX,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(lines.into_iter().rev().collect())
    }

    /// The notifications whose digest has this prefix, at most two: enough to see that there are
    /// several.
    pub(crate) async fn notifications_by_digest(
        &self,
        prefix: &DigestPrefix,
    ) -> Result<Vec<StoredNotification>, StoreError> {
        let found = sqlx::query_as!(
            StoredNotification,
            "/* find_notifications */
            select digest, kind, mch_id, out_trade_no, transaction_id, raw, received_at,
                last_received_at, repeats, verdict, detail
            from notifications where digest between $1 and $2 order by digest limit 2",
            &prefix.first[..],
            &prefix.last[..],
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_prefix_is_a_range_of_digests() {
        let prefix = DigestPrefix::parse("aB3").unwrap();
        assert_eq!(prefix.first[..3], [0xab, 0x30, 0]);
        assert_eq!(prefix.last[..3], [0xab, 0x3f, 0xff]);
        let whole = DigestPrefix::parse(&"5e".repeat(32)).unwrap();
        assert_eq!(whole.first, whole.last);
        for bad in ["", "xy", "+1", &"0".repeat(65), "é"] {
            assert_eq!(DigestPrefix::parse(bad), None, "{bad}");
        }
    }
}

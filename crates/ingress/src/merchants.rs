use std::collections::BTreeSet;

use wechatpay_v2::{FieldError, MchId};

/// The merchants served here (`WXPAY_MCH_IDS`).
#[derive(Clone, Debug, Default)]
pub enum Merchants {
    /// Every merchant; the worker knows which it has keys for.
    #[default]
    Any,
    Only(BTreeSet<MchId>),
}

impl Merchants {
    /// Parses merchant numbers with commas between them.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let ids = text.split(',').map(|id| MchId::parse(id.trim()));
        ids.collect::<Result<_, _>>().map(Self::Only)
    }

    pub(crate) fn contains(&self, mch_id: &MchId) -> bool {
        match self {
            Self::Any => true,
            Self::Only(ids) => ids.contains(mch_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_contains_those_on_it() {
        let id = |text| MchId::parse(text).unwrap();
        let merchants = Merchants::parse("1900000109, 1900000110").unwrap();
        assert!(merchants.contains(&id("1900000110")));
        assert!(!merchants.contains(&id("1900000111")));
        assert!(Merchants::Any.contains(&id("1900000111")));
        for bad in ["", "1900000109,", "shop"] {
            assert!(Merchants::parse(bad).is_err(), "{bad:?}");
        }
    }
}

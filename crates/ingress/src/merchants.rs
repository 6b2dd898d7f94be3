use std::collections::BTreeSet;

use wechatpay_v2::{FieldError, MchId};

/// The merchants served here (`WXPAY_MCH_IDS`).
#[derive(Clone, Debug, Default)]
pub enum Merchants {
    /// Whichever; the worker knows who is ours.
    #[default]
    Any,
    /// These.
    Only(BTreeSet<MchId>),
}

impl Merchants {
    /// Reads merchant numbers with commas between them.
    ///
    /// # Errors
    /// With the rule of a merchant number.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let ids = text.split(',').map(|id| MchId::parse(id.trim()));
        ids.collect::<Result<_, _>>().map(Self::Only)
    }

    pub(crate) fn serve(&self, mch_id: &MchId) -> bool {
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
    fn a_list_serves_those_on_it() {
        let id = |text| MchId::parse(text).unwrap();
        let merchants = Merchants::parse("1900000109, 1900000110").unwrap();
        assert!(merchants.serve(&id("1900000110")));
        assert!(!merchants.serve(&id("1900000111")));
        assert!(Merchants::Any.serve(&id("1900000111")));
        for bad in ["", "1900000109,", "shop"] {
            assert!(Merchants::parse(bad).is_err(), "{bad:?}");
        }
    }
}

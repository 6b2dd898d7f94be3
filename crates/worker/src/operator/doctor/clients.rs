//! The clients file, as the worker and the ingress will both read it.

use std::path::Path;

use wechatpay_v2::MchId;
use worker::{BadSetting, ClientEntry, Clients};

use super::keys::counted;
use super::report::Check;
use crate::operator::output::plain;

const FILE: &str = "clients.file";
const REMEDY: &str = "mend the file that WXPAY_CLIENTS_FILE names, like \
                      deploy/clients.sample.toml; then restart the ingress and the workers";

/// A setting that contradicts another.
pub(super) fn unusable(setting: &BadSetting) -> Vec<Check> {
    let remedy = format!("set {} right, or leave it out", setting.variable);
    vec![Check::bad(FILE, setting.to_string(), remedy)]
}

pub(super) fn none() -> Vec<Check> {
    let why = "WXPAY_CLIENTS_FILE is not set: whoever may publish commands may do so for every \
               merchant";
    vec![Check::skipped(FILE, why)]
}

/// `merchants` are those that the merchants file knows, if it could be read.
pub(super) fn checks(
    file: &Path,
    ingress_user: Option<&str>,
    merchants: Option<&[MchId]>,
) -> Vec<Check> {
    let shown = plain(&file.to_string_lossy());
    let entries = match Clients::entries(file) {
        Ok(entries) if entries.is_empty() => {
            return vec![Check::bad(FILE, format!("{shown} names no client"), REMEDY)];
        }
        Ok(entries) => entries,
        Err(error) => {
            let finding = format!("{shown}: {}", plain(&error.to_string()));
            return vec![Check::bad(FILE, finding, REMEDY)];
        }
    };
    let with_user = entries.iter().filter(|entry| entry.has_amqp_user).count();
    let ingress = match ingress_user {
        Some(user) => format!("the ingress's user {} is trusted", plain(user)),
        None => "no WXPAY_INGRESS_USER is trusted".to_owned(),
    };
    let count = counted(entries.len(), "client");
    let finding = format!("{shown} names {count}, {with_user} with an AMQP user; {ingress}");
    let mut checks = vec![Check::ok(FILE, finding)];
    checks.extend(entries.iter().map(|entry| client(entry, merchants)));
    checks
}

fn client(entry: &ClientEntry, merchants: Option<&[MchId]>) -> Check {
    let name = format!("clients.{}", plain(&entry.name));
    if let Some(fault) = entry.fault {
        return Check::bad(name, format!("the ingress refuses the file: {fault}"), REMEDY);
    }
    if entry.mch_ids.is_empty() {
        return Check::ok(name, "may act for every merchant");
    }
    let Some(merchants) = merchants else {
        return Check::skipped(name, "the merchants are not all known: see above");
    };
    let strangers = entry.mch_ids.iter().filter(|mch_id| !merchants.contains(mch_id));
    let strangers: Vec<_> = strangers.map(ToString::to_string).collect();
    if strangers.is_empty() {
        return Check::ok(
            name,
            format!("may act for {}", counted(entry.mch_ids.len(), "merchant")),
        );
    }
    let finding = format!("may act for {}, which is no merchant of ours", strangers.join(", "));
    Check::warn(name, finding, "add the merchant to the merchants file, or take it away here")
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckStatus;
    use super::*;

    #[test]
    fn a_client_is_held_against_the_merchants() {
        let ids = |ids: &[&str]| ids.iter().map(|id| MchId::parse(*id).unwrap()).collect();
        let ours: Vec<MchId> = ids(&["1900000109"]);
        let judged = |named: &[&str], fault, merchants| {
            let mch_ids = ids(named);
            let entry = ClientEntry { name: "shop".into(), mch_ids, has_amqp_user: false, fault };
            client(&entry, merchants).status
        };
        assert_eq!(judged(&["1900000109"], None, Some(&ours)), CheckStatus::Ok);
        assert_eq!(judged(&["1900000109", "1"], None, Some(&ours)), CheckStatus::Warn);
        assert_eq!(judged(&["1"], None, None), CheckStatus::Skipped);
        assert_eq!(judged(&[], None, None), CheckStatus::Ok);
        assert_eq!(judged(&[], Some("a hash"), Some(&ours)), CheckStatus::Bad);
    }
}

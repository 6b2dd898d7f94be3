//! The clients file, as the worker and the ingress read it.

use std::path::Path;

use crate::clients::{ClientEntry, Clients};
use crate::config::BadSetting;
use wechatpay_v2::MchId;

use super::report::Check;
use crate::operator::output::{counted, plain};

const FILE: &str = "clients.file";
const REMEDY: &str = "fix the file of WXPAY_CLIENTS_FILE, see \
                      deploy/clients.sample.toml; then restart the ingress and the workers";

pub(super) fn unusable(setting: &BadSetting) -> Vec<Check> {
    let remedy = format!("correct {}, or unset it", setting.variable);
    vec![Check::bad(FILE, setting.to_string(), remedy)]
}

pub(super) fn none() -> Vec<Check> {
    let why = "WXPAY_CLIENTS_FILE is not set: anyone who can publish commands can do so for every \
               merchant";
    vec![Check::skipped(FILE, why)]
}

/// `merchants` are those of the merchants file, if it could be read.
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
        return Check::skipped(name, "the merchants file has errors: see above");
    };
    let unknown = entry.mch_ids.iter().filter(|mch_id| !merchants.contains(mch_id));
    let unknown: Vec<_> = unknown.map(ToString::to_string).collect();
    if unknown.is_empty() {
        return Check::ok(
            name,
            format!("may act for {}", counted(entry.mch_ids.len(), "merchant")),
        );
    }
    let finding = format!("may act for {}, not in the merchants file", unknown.join(", "));
    Check::warn(name, finding, "add the merchant to the merchants file, or remove it here")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::doctor::report::CheckStatus;

    #[test]
    fn client_is_checked_against_the_merchants() {
        let ids = |ids: &[&str]| ids.iter().map(|id| MchId::parse(*id).unwrap()).collect();
        let ours: Vec<MchId> = ids(&["1900000109"]);
        let status = |named: &[&str], fault, merchants| {
            let mch_ids = ids(named);
            let entry = ClientEntry { name: "shop".into(), mch_ids, has_amqp_user: false, fault };
            client(&entry, merchants).status
        };
        assert_eq!(status(&["1900000109"], None, Some(&ours)), CheckStatus::Ok);
        assert_eq!(status(&["1900000109", "1"], None, Some(&ours)), CheckStatus::Warn);
        assert_eq!(status(&["1"], None, None), CheckStatus::Skipped);
        assert_eq!(status(&[], None, None), CheckStatus::Ok);
        assert_eq!(status(&[], Some("a hash"), Some(&ours)), CheckStatus::Bad);
    }
}
